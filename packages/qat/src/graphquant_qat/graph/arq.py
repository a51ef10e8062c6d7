"""ARQ in the graph: fake quantisation of a weight by its live largest value."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.exceptions import ConfigError
from graphquant_core.quantize import FLOAT32_EPSILON
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_qat.graph import gradients


def build_arq(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """round(w / scale) * scale, scale = max|w| / 127 of a channel; straight-through gradient.

    A dead channel (scale below 1.192092896e-7) gets scale 1.0 and stays zero. No variables.

    Raises:
        ConfigError: The grid isn't narrow: ±127 is what folds a batch norm of either sign.
    """
    if not request.grid.narrow:
        raise ConfigError(f"arq_retrain needs a narrow grid, not {request.grid}")
    factors = largest_per_channel(weight, request.axes) / request.grid.maximum
    factors = tf.where(factors < FLOAT32_EPSILON, tf.ones_like(factors), factors)
    scale = tf.reshape(factors, per_channel_shape(weight.shape.as_list(), request.axes))
    with weight.graph.gradient_override_map({"Round": gradients.STRAIGHT_THROUGH}):
        codes = tf.round(weight / scale)
    output = tf.multiply(codes, scale, name="on_grid")
    return FakeQuantized(output, factors, tf.zeros_like(factors, tf.int32), request.grid)


def largest_per_channel(weight: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    """max|w| of each channel in the row-major order of `axes`, [C]; [] for no axes. No gradient."""
    reduced = [axis for axis in range(weight.shape.rank) if axis not in axes]
    largest = tf.reduce_max(tf.abs(tf.stop_gradient(weight)), reduced)
    return tf.reshape(largest, [-1]) if axes else largest
