"""Learned scales of a weight in the graph: AMCT's ulq_retrain, which is LSQ."""

from __future__ import annotations

import math

import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.exceptions import ConfigError
from graphquant_core.quantize import FLOAT32_EPSILON
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_qat.graph import gradients
from graphquant_qat.graph.arq import largest_per_channel

v1 = tf.compat.v1


def build_lsq(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """scale * round(clip(w / scale, ±qmax)), scale trained, from max|w| / qmax at the first step.

    Variables: ``<key>/ULQ_scale`` [C] or [] (trained) and ``<key>/ULQ_scale_batches``. Gradients:
    dw = g inside the range; dscale = (round(v) - v inside, ±qmax outside) g / sqrt(n qmax), with
    v = w / scale and n weights a channel.

    Raises:
        ConfigError: The grid isn't narrow.

    Source: Esser et al., Learned Step Size Quantization (2020), with AMCT's start value.
    """
    grid = request.grid
    if not grid.narrow:
        raise ConfigError(f"ulq_retrain needs a narrow grid, not {grid}")
    shape = weight.shape.as_list()
    start = largest_per_channel(weight, request.axes) / grid.maximum
    start = tf.where(start < FLOAT32_EPSILON, tf.ones_like(start), start)
    seen = _variable(request.key, "ULQ_scale_batches", [], tf.int32, trainable=False)
    stored = _variable(request.key, "ULQ_scale", start.shape, tf.float32, trainable=True)
    searching = tf.less(seen, 1, name="searching")
    graph = weight.graph
    per_channel = math.prod(shape) // max(start.shape.num_elements(), 1)
    rate = tf.constant(1.0 / math.sqrt(max(per_channel, 1) * grid.maximum))
    with graph.gradient_override_map(
        {"SelectV2": gradients.STORED, "Maximum": gradients.FIRST, "IdentityN": gradients.STARTED}
    ):
        factors = tf.raw_ops.SelectV2(condition=searching, t=start, e=stored)
        factors, _ = tf.raw_ops.IdentityN(input=[factors, rate])
        factors = tf.maximum(factors, FLOAT32_EPSILON, name="scale")
    scale = tf.reshape(factors, per_channel_shape(shape, request.axes))
    clipped = tf.clip_by_value(weight / scale, grid.minimum, grid.maximum)
    with graph.gradient_override_map({"Round": gradients.STRAIGHT_THROUGH}):
        codes = tf.round(clipped)
    output = tf.multiply(codes, scale, name="on_grid")
    offset = tf.zeros_like(factors, tf.int32)
    return FakeQuantized(output, factors, offset, grid, tf.logical_not(searching))


def _variable(key: str, name: str, shape: object, dtype: tf.DType, trainable: bool) -> tf.Tensor:
    variable = v1.get_variable(
        f"{key}/{name}",
        shape=shape,
        dtype=dtype,
        initializer=v1.constant_initializer(0 if dtype == tf.int32 else 1.0),
        trainable=trainable,
        use_resource=True,
    )
    return variable.read_value()
