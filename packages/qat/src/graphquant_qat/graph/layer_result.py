"""What a layer returns in a graph, with everything that is folded into it when it is deployed."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph import GraphView, affine_tail
from graphquant_core.graph.affine import ADDING_TYPES, FUSED_BATCH_NORM_TYPES
from graphquant_core.layer import Layer

_STATISTICS = frozenset({"Mean", "SquaredDifference", "StopGradient", "Sub"})
"""What else a batch norm of single ops takes in training mode, for its moments."""


def layer_result(view: GraphView, layer: Layer) -> tf.Tensor:
    """The result of `layer` behind its bias and its batch norm, in training mode, too.

    A batch norm in training mode folds into nothing there, yet it does in the inference graph: what
    is rounded is behind it in both.
    """
    tensor = view.graph.get_operation_by_name(layer.name).outputs[0]
    channels = layer.output_channels or 0
    while True:
        tail = affine_tail(view, tensor, layer.output_channel_axis, channels)
        tensor = tail[-1].output if tail else tensor
        normalized = _normalized(view, tensor, channels)
        if normalized is None:
            return tensor
        tensor = normalized


def is_normalized(view: GraphView, tensor: tf.Tensor, channels: int) -> bool:
    """Whether a batch norm in training mode is all that takes `tensor`."""
    return _normalized(view, tensor, channels) is not None


def _normalized(view: GraphView, tensor: tf.Tensor, channels: int) -> tf.Tensor | None:
    """What a batch norm in training mode makes of `tensor`, when that is all that takes it."""
    consumers = view.consumers(tensor)
    if len(consumers) == 1 and consumers[0][1] == 0:
        (op, _), *_ = consumers
        if op.type in FUSED_BATCH_NORM_TYPES:
            return op.outputs[0]
    factors = [op for op, _ in consumers if op.type == "Mul"]
    others = {op.type for op, _ in consumers if op.type != "Mul"}
    if len(factors) != 1 or not others or not others <= _STATISTICS:
        return None
    (factor,) = factors
    scaled = view.consumers(factor.outputs[0])
    vectors = [t for t in factor.inputs if t is not tensor and t.shape.num_elements() == channels]
    if not vectors or len(scaled) != 1 or scaled[0][0].type not in ADDING_TYPES:
        return None
    return scaled[0][0].outputs[0]
