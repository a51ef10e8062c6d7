"""Ops inside function bodies: TensorFlow ignores an edit there, so they are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSet, Sequence

import tensorflow as tf

from graphquant_core.graph.rewire import CALL, TEACHER, role_of
from graphquant_core.graph.view import GraphView
from graphquant_core.graph.while_loops import IN_LOOP, WHILE_TYPES
from graphquant_core.layer import Skip

_IN_FUNCTION = (
    "where a rewrite has no effect: build the graph after "
    "tf.compat.v1.disable_control_flow_v2(), or inline the function"
)


def skips_in_functions(view: GraphView, is_candidate: Callable[[str], bool]) -> Iterator[Skip]:
    """A skip for every op of a candidate type in a function that `view`'s graph calls.

    What fake quantisers and a float model that teaches call is none of the model's.

    Args:
        view: View of the graph.
        is_candidate: Whether an op type has a layer handler.
    """
    calling = [kind for kind in view.types if _may_call(view.of_types([kind])[0])]
    callers = {
        op: functions_called_by(op.node_def)
        for op in view.of_types(calling)
        if role_of(op) not in (CALL, TEACHER)
    }
    if not callers:
        return
    library = function_library(view.graph)
    seen: set[str] = set()
    for op, names in callers.items():
        for name, node in nodes_in_functions(names, library, seen):
            if is_candidate(node.op):
                reason = IN_LOOP if op.type in WHILE_TYPES else _IN_FUNCTION
                yield Skip(
                    f"{name}/{node.name}",
                    node.op,
                    f'it is inside the function "{name}" that "{op.name}" ({op.type}) calls, '
                    f"{reason}",
                )


def function_library(graph: tf.Graph) -> dict[str, Sequence[tf.compat.v1.NodeDef]]:
    """The nodes of each function of `graph`, by its name."""
    library = graph.as_graph_def().library.function
    return {function.signature.name: function.node_def for function in library}


def nodes_in_functions(
    names: Iterable[str],
    library: Mapping[str, Sequence[tf.compat.v1.NodeDef]],
    seen: MutableSet[str],
) -> Iterator[tuple[str, tf.compat.v1.NodeDef]]:
    """(function, node) for each node of the functions called so, and of those that they call.

    Args:
        names: Names of functions; what is none is left out.
        library: What `function_library` returned.
        seen: Names of functions that are left out; those that are gone through come to them.
    """
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in library:
            continue
        seen.add(name)
        for node in library[name]:
            waiting.extend(functions_called_by(node))
            yield name, node


def _may_call(op: tf.Operation) -> bool:
    return op.op_def is None or any(
        attribute.type in ("func", "list(func)") for attribute in op.op_def.attr
    )


def functions_called_by(node: tf.compat.v1.NodeDef) -> list[str]:
    """Names that `node` may call functions by: its op type, and its function attributes."""
    names = [node.op]  # a node may call a function by using its name as the op type
    for value in node.attr.values():
        if value.HasField("func"):
            names.append(value.func.name)
        names.extend(function.name for function in value.list.func)
    return names
