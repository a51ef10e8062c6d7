"""What stands in the while loops of TensorFlow 1 of an imported graph."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph import GraphView


def ops_in_loops(view: GraphView) -> set[str]:
    """Names of the ops between an Enter and the Exit of its loop, the Enter included."""
    waiting: list[tf.Operation] = [op for op in view.operations if op.type in ("Enter", "RefEnter")]
    inside = set(waiting)
    while waiting:
        op = waiting.pop()
        if op.type not in ("Exit", "RefExit"):
            for tensor in op.outputs:
                found = {consumer for consumer, _ in view.consumers(tensor)} - inside
                inside |= found
                waiting.extend(found)
    return {op.name for op in inside}
