"""Symmetric fake quantisation of a weight by the live largest magnitude of each group."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_wq.strategies.limits import MAX_WEIGHT_BITS, SMALLEST_SCALE


def build_max_abs(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """round(w / s) * s, s = max|w| / (2^(b-1) - 1) of a group; straight-through gradient.

    A group whose scale is not above 1e-6 becomes zero, as in MNN. No variables.

    Raises:
        ConfigError: The grid isn't narrow, or has more than 8 bits.

    Source: MNN's converter, symmetric weight quantisation.
    """
    grid = request.grid
    if not grid.narrow or grid.bits > MAX_WEIGHT_BITS:
        raise ConfigError(f"max_abs needs a narrow grid of 2 to {MAX_WEIGHT_BITS} bits, not {grid}")
    others = [axis for axis in range(weight.shape.rank) if axis not in request.axes]
    largest = tf.reduce_max(tf.abs(tf.stop_gradient(weight)), others, keepdims=True)
    scale = largest / grid.maximum
    dead = scale <= SMALLEST_SCALE
    divisor = tf.where(dead, tf.ones_like(scale), scale)
    with weight.graph.gradient_override_map({"Round": "Identity"}):
        codes = tf.round(weight / divisor)
    output = tf.multiply(codes, tf.where(dead, tf.zeros_like(scale), scale), name="on_grid")
    factors = tf.reshape(divisor, [-1] if request.axes else [])
    return FakeQuantized(output, factors, tf.zeros_like(factors, tf.int32), grid)
