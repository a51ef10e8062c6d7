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
    shape = weight.shape.as_list()
    reduced = [axis for axis in range(len(shape)) if axis not in request.axes]
    largest = tf.reduce_max(tf.abs(tf.stop_gradient(weight)), reduced, keepdims=True)
    scale = largest / request.grid.maximum
    scale = tf.where(scale < FLOAT32_EPSILON, tf.ones_like(scale), scale)
    scale = tf.reshape(scale, per_channel_shape(shape, request.axes))
    with weight.graph.gradient_override_map({"Round": gradients.STRAIGHT_THROUGH}):
        codes = tf.round(weight / scale)
    output = tf.multiply(codes, scale, name="on_grid")
    factors = tf.reshape(scale, [-1] if request.axes else [])
    return FakeQuantized(output, factors, tf.zeros_like(factors, tf.int32), request.grid)
