"""Values of which the largest decide, whose range holds all of them.

The squared error of a range doesn't know that: of a thousand scores it cuts off the few that are a
row's largest, and a softmax makes another probability of each step that these lose.
"""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.target_rules import MOVING_TYPES

_LARGEST_DECIDE = frozenset({"ArgMax", "LogSoftmax", "Softmax", "TopK", "TopKV2"})


def top_scores(graph: tf.Graph, tensors: Collection[str]) -> frozenset[str]:
    """Names of those of `tensors` that a softmax or an argmax takes, as they are or moved about.

    Args:
        graph: The frozen graph.
        tensors: Names of its tensors.
    """
    view = GraphView(graph)
    return frozenset(name for name in tensors if _decides(view, graph.get_tensor_by_name(name)))


def _decides(view: GraphView, tensor: tf.Tensor) -> bool:
    waiting, seen = [tensor], {tensor.name}
    while waiting:
        for op, _ in view.consumers(waiting.pop()):
            if op.type in _LARGEST_DECIDE:
                return True
            if op.type in MOVING_TYPES:
                moved = [result for result in op.outputs if result.name not in seen]
                seen.update(result.name for result in moved)
                waiting.extend(moved)
    return False
