"""What a layer's folded batch norm multiplies its weight scales by."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph import BatchNorm, GraphView, Scale, affine_tail
from graphquant_core.layer import Layer
from graphquant_core.quantize import FLOAT32_EPSILON


def folded_scale(view: GraphView, layer: Layer, scale: tf.Tensor) -> tf.Tensor:
    """scale * prod |k|, k = gamma / sqrt(variance + epsilon) of every factor that folds, float32.

    Args:
        view: View of the graph, made after the rewrite.
        layer: The layer whose weight has `scale`, [] or [C].
        scale: float32 scale of the unfolded weight.

    A batch norm in training mode doesn't fold and adds no factor. The result is [C] when a factor
    is per channel. Scales that a dead factor would turn to nothing become 1.0.
    """
    output = view.graph.get_operation_by_name(layer.name).outputs[0]
    tail = affine_tail(view, output, layer.output_channel_axis, layer.output_channels or 0)
    factors = [_factor(step) for step in tail if isinstance(step, (BatchNorm, Scale))]
    if not factors:
        return scale
    folded = tf.cast(scale, tf.float64)
    for factor in factors:
        folded = folded * tf.abs(factor)
    folded = tf.cast(folded, tf.float32)
    return tf.where(folded < FLOAT32_EPSILON, tf.ones_like(folded), folded)


def _factor(step: BatchNorm | Scale) -> tf.Tensor:
    """float64, [] or [C]."""
    if isinstance(step, Scale):
        flat = tf.cast(tf.reshape(step.value, [-1]), tf.float64)
        return flat[0] if step.value.shape.num_elements() == 1 else flat
    variance = tf.cast(step.variance, tf.float64)
    return tf.cast(step.gamma, tf.float64) / tf.sqrt(variance + step.epsilon)
