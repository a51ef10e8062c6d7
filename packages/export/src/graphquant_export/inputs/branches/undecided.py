"""Conditions that an input decides each time, which few targets take."""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.graph import GraphView
from graphquant_core.graph.while_loops import ops_in_loops
from graphquant_export.inputs.branches.if_ops import IF_TYPES
from graphquant_export.inputs.branches.switches import SWITCHES

CONDITIONS = SWITCHES | IF_TYPES | {"Case", "StatelessCase"}


def refuse_conditions(graph: tf.Graph, taker: str, types: Collection[str] = CONDITIONS) -> None:
    """Returns unless `graph` has a condition outside of loops.

    Args:
        graph: The frozen graph.
        taker: What doesn't take it, such as ``"MNN's converter"``.
        types: Which ops are conditions.

    Raises:
        UnsupportedLayerError: Names the condition, the input that decides it, and what helps.
    """
    view = GraphView(graph)
    found = conditions(view, types)
    if not found:
        return
    op = found[0]
    start = f'"{op.name}" ({op.type}) is a condition, which {taker} does not take: '
    deciding = [name for each in found if (name := deciding_input(view, each)) is not None]
    if deciding:
        raise UnsupportedLayerError(
            f'{start}give "{deciding[0]}", which decides it, the value that it always has '
            "(input_values=)"
        )
    raise UnsupportedLayerError(
        f"{start}freeze the branch that is deployed, or let the model begin behind it (inputs=)"
    )


def conditions(view: GraphView, types: Collection[str] = CONDITIONS) -> list[tf.Operation]:
    """The conditions of a graph, but for those in loops, in its order."""
    found = [op for op in view.operations if op.type in types]
    loops = ops_in_loops(view) if found else ()
    return [op for op in found if op.name not in loops]


def predicate(condition: tf.Operation) -> tf.Tensor:
    """What says which branch is taken."""
    return condition.inputs[1 if condition.type in SWITCHES else 0]


def deciding_input(view: GraphView, condition: tf.Operation) -> str | None:
    """Name of the scalar placeholder that alone decides `condition`, where there is one."""
    decided = predicate(condition).op
    found = [
        op
        for op in view.operations
        if op.type.startswith("Placeholder") and decided in view.downstream([op])
    ]
    if len(found) != 1 or found[0].outputs[0].shape.rank != 0:
        return None
    return str(found[0].name)
