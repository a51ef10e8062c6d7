"""The branches that are taken, in the place of conditions that constants decide."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import evaluate_constants, import_frozen
from graphquant_core.listing import listed_names
from graphquant_export.inputs.branches.if_ops import IF_TYPES, call_branches
from graphquant_export.inputs.branches.switches import SWITCHES, take_branches
from graphquant_export.inputs.feeds import default_feeds

logger = logging.getLogger(__name__)

# What carries the state of a loop, so that another value may come each time.
_CHANGING = frozenset({"Enter", "LoopCond", "Merge", "NextIteration", "Switch"})


def decide_conditions(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` without conditions that constants or defaults of placeholders decide.

    The ops of the branch that is taken keep their names where the condition is TensorFlow 1's
    (Switch and Merge); those of a function (If) get the name of the op in front.

    Args:
        graph_def: Frozen graph.
        outputs: Names of the ops that are the model's outputs.

    Raises:
        ConfigError: An output is computed only in a branch that isn't taken.
    """
    used: set[str] = set()
    done: set[str] = set()
    # A condition in a branch may hang on what is known once the one around it is decided.
    while (decided := _decided(graph_def)).values.keys() - done:
        used |= decided.defaults
        done |= decided.values.keys()
        graph_def = _taken(graph_def, decided.values, outputs)
    gone = used - {node.name for node in graph_def.node}
    if gone:
        logger.info("conditions are decided by the default of %s", listed_names(sorted(gone)))
    return graph_def


@attrs.frozen
class _Decided:
    """Conditions of which the outcome is known.

    Attributes:
        values: Which branch is taken, by the name of the Switch or If.
        defaults: Names of the placeholders with a default that have a part in it.
    """

    values: Mapping[str, bool]
    defaults: frozenset[str]


def _decided(graph_def: tf.compat.v1.GraphDef) -> _Decided:
    types = SWITCHES | IF_TYPES
    if not any(node.op in types for node in graph_def.node):
        return _Decided({}, frozenset())
    graph = import_frozen(graph_def)
    predicates = {
        op.name: op.inputs[1 if op.type in SWITCHES else 0]
        for op in graph.get_operations()
        if op.type in types
    }
    defaults = default_feeds(graph)
    known = {name: _defaults_of(tensor, defaults) for name, tensor in predicates.items()}
    names = [name for name, found in known.items() if found is not None]
    parts = frozenset(name for found in known.values() for name in found or ())
    fed = {f"{name}:0": defaults[f"{name}:0"] for name in parts}
    values = evaluate_constants(graph, [predicates[name] for name in names], fed)
    return _Decided(dict(zip(names, map(_outcome, values), strict=True)), parts)


def _outcome(value: npt.NDArray[Any]) -> bool:
    # An If takes other types than bool, too; zero, and an array without elements, is False.
    return bool(value.size) if value.ndim else bool(value)


def _defaults_of(tensor: tf.Tensor, defaults: Mapping[str, object]) -> set[str] | None:
    """The placeholders whose defaults have a part in `tensor`; ``None`` if more has than constants.

    Args:
        tensor: The predicate of a condition.
        defaults: Values by the names of the tensors of placeholders.
    """
    found: set[str] = set()
    seen, waiting = {tensor.op}, [tensor.op]
    while waiting:
        op = waiting.pop()
        if op.outputs[0].name in defaults:
            found.add(op.name)
            continue
        if op.op_def.is_stateful or op.type.startswith("Placeholder") or op.type in _CHANGING:
            return None
        before = {taken.op for taken in op.inputs} - seen
        seen |= before
        waiting += before
    return found


def _taken(
    graph_def: tf.compat.v1.GraphDef, values: Mapping[str, bool], outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` with the branch that `values` names of each."""
    types = {node.name: node.op for node in graph_def.node}
    switches = {name: value for name, value in values.items() if types[name] in SWITCHES}
    graph_def = take_branches(graph_def, switches, outputs)
    left = {node.name for node in graph_def.node}
    calls = {name: value for name, value in values.items() if name in left - switches.keys()}
    return call_branches(graph_def, calls, outputs)
