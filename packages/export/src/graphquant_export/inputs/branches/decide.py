"""The branches that are taken, in the place of conditions that constants decide."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import evaluate_constants, import_frozen
from graphquant_core.listing import listed_names
from graphquant_export.inputs.branches.if_ops import IF_TYPES, call_branches
from graphquant_export.inputs.branches.switches import SWITCHES, take_branches
from graphquant_export.inputs.branches.undecided import predicate
from graphquant_export.inputs.feeds import default_feeds

logger = logging.getLogger(__name__)

_TYPES = SWITCHES | IF_TYPES
# What may return another value each time, or nothing: what a loop carries, and a branch.
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
    if not any(node.op in _TYPES for node in graph_def.node):
        return _Decided({}, frozenset())
    view = GraphView(import_frozen(graph_def))
    defaults = default_feeds(view.graph)
    with_default = {view.graph.get_tensor_by_name(name).op for name in defaults}
    changing = view.downstream(
        op
        for op in view.operations
        if op.type in _CHANGING or (view.brings_data(op) and op not in with_default)
    )
    found = {op.name: predicate(op) for op in view.of_types(_TYPES)}
    found = {name: tensor for name, tensor in found.items() if tensor.op not in changing}
    deciding = {tensor.op for tensor in found.values()}
    used = [op for op in with_default if deciding & view.downstream([op])]
    fed = {op.outputs[0].name: defaults[op.outputs[0].name] for op in used}
    values = evaluate_constants(view.graph, list(found.values()), fed)
    taken = dict(zip(found, map(_outcome, values), strict=True))
    return _Decided(taken, frozenset(op.name for op in used))


def _outcome(value: npt.NDArray[Any]) -> bool:
    # An If takes other types than bool, too; zero, and an array without elements, is False.
    return bool(value.size) if value.ndim else bool(value)


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
