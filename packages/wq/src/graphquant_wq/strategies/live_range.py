"""Fake quantisation of a weight by the live range of each group. It needs no variables."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_wq.graph.gradients import straight_through
from graphquant_wq.strategies.limits import MAX_WEIGHT_BITS, SMALLEST_SCALE


def build_max_abs(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """round(w / s) * s, s = max|w| / (2^(b-1) - 1) of a group; straight-through gradient.

    A group whose scale is not above 1e-6 becomes zero, as in MNN.

    Raises:
        ConfigError: The grid isn't narrow, or has more than 8 bits.

    Source: MNN's converter, symmetric weight quantisation.
    """
    grid = request.grid
    if not grid.narrow or grid.bits > MAX_WEIGHT_BITS:
        raise ConfigError(f"max_abs needs a narrow grid of 2 to {MAX_WEIGHT_BITS} bits, not {grid}")
    scale = _max_abs_scale(weight, request)
    dead = scale <= SMALLEST_SCALE
    divisor = tf.where(dead, tf.ones_like(scale), scale)
    codes = tf.round(weight * tf.math.reciprocal(divisor))
    on_grid = codes * tf.where(dead, tf.zeros_like(scale), scale)
    factors = _flat(divisor, request)
    return FakeQuantized(
        straight_through(on_grid, weight), factors, tf.zeros_like(factors, tf.int32), grid
    )


def build_min_max(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """min + round((w - min) / s) * s, s = (max - min) / (2^b - 1); straight-through gradient.

    Both ends of the grid are reached by construction, so that MNN finds the same grid. A group
    whose scale is not above 1e-6 becomes its minimum, as in MNN. Options:

    - ``keeps_zero``: bool tensor ``[]``; where it is true the grid is the symmetric one of
      `build_max_abs`, which has zero on it.

    Raises:
        ConfigError: The grid is narrow, or has more than 8 bits.

    Source: MNN's converter, asymmetric weight quantisation.
    """
    grid = request.grid
    if grid.narrow or grid.bits > MAX_WEIGHT_BITS:
        raise ConfigError(f"min_max needs a full grid of 2 to {MAX_WEIGHT_BITS} bits, not {grid}")
    values, others = tf.stop_gradient(weight), _others(weight, request)
    low = tf.reduce_min(values, others, keepdims=True)
    high = tf.reduce_max(values, others, keepdims=True)
    scale = (high - low) / grid.levels
    keeps_zero = request.options.get("keeps_zero")
    if keeps_zero is not None:
        symmetric = tf.maximum(high, -low) / grid.maximum
        scale = tf.where(keeps_zero, symmetric, scale)
        low = tf.where(keeps_zero, symmetric * -grid.maximum, low)
    dead = scale <= SMALLEST_SCALE
    if keeps_zero is not None:
        low = tf.where(tf.logical_and(keeps_zero, dead), tf.zeros_like(low), low)
    divisor = tf.where(dead, tf.ones_like(scale), scale)
    codes = tf.round((values - low) * tf.math.reciprocal(divisor))
    on_grid = low + codes * tf.where(dead, tf.zeros_like(scale), scale)
    factors = _flat(divisor, request)
    offset = grid.minimum - _flat(low, request) / factors
    return FakeQuantized(straight_through(on_grid, weight), factors, offset, grid)


def _max_abs_scale(weight: tf.Tensor, request: QuantizerRequest) -> tf.Tensor:
    largest = tf.reduce_max(
        tf.abs(tf.stop_gradient(weight)), _others(weight, request), keepdims=True
    )
    return largest / request.grid.maximum


def _others(weight: tf.Tensor, request: QuantizerRequest) -> list[int]:
    """The axes that a group runs along."""
    return [axis for axis in range(weight.shape.rank) if axis not in request.axes]


def _flat(values: tf.Tensor, request: QuantizerRequest) -> tf.Tensor:
    return tf.reshape(values, [-1] if request.axes else [])
