"""Learned scales of a weight in the graph: AMCT's ulq_retrain, which is LSQ."""

from __future__ import annotations

import math

import tensorflow as tf

from graphquant_core.channels import channel_count, per_channel_shape
from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.function_call import call
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_qat.graph import functions, gradients
from graphquant_qat.graph.variables import stored


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
    channels = channel_count(shape, request.axes)
    largest = functions.largest_scale(len(shape), request.axes, grid.maximum)
    _, start, offset = call(largest, [weight], gradients.NO_GRADIENT, "start")
    seen = stored(request.key, "ULQ_scale_batches", 0, trainable=False)
    held = stored(request.key, "ULQ_scale", 1.0, [channels] if request.axes else [])
    rate = tf.constant(1.0 / math.sqrt(max(math.prod(shape) // channels, 1) * grid.maximum))
    factors, searching = call(
        functions.learned_scale(), [start, held, seen, rate], gradients.LEARNED_SCALE, "scale"
    )
    factors.set_shape(held.shape)
    scale = tf.reshape(factors, per_channel_shape(shape, request.axes))
    clipped = tf.clip_by_value(weight / scale, grid.minimum, grid.maximum)
    with weight.graph.gradient_override_map({"Round": gradients.STRAIGHT_THROUGH}):
        codes = tf.round(clipped)
    output = tf.multiply(codes, scale, name="on_grid")
    return FakeQuantized(output, factors, offset, grid, tf.logical_not(searching))
