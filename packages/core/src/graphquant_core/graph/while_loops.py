"""What stands in the while loops of a graph."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph.view import GraphView

WHILE_TYPES = frozenset({"While", "StatelessWhile"})
"""Loops whose body is a function. One of TensorFlow 1 is made of ops from Enter to Exit."""

IN_LOOP = (
    "whose steps share its weight, and each would need ranges of its own: unroll the loop, so that "
    "each step is a layer"
)


def ops_in_loops(view: GraphView) -> set[str]:
    """Names of the ops from an Enter to the Exit of its loop."""
    waiting: list[tf.Operation] = view.of_types(("Enter", "RefEnter"))
    inside = set(waiting)
    while waiting:
        op = waiting.pop()
        if op.type not in ("Exit", "RefExit"):
            for tensor in op.outputs:
                found = {consumer for consumer, _ in view.consumers(tensor)} - inside
                inside |= found
                waiting.extend(found)
    return {op.name for op in inside}
