"""Fake quantisation of a weight by the live range of each group. It needs no variables."""

from __future__ import annotations

import functools
from typing import TypeAlias

import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.function_call import call
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_wq.graph.gradients import BY_FUNCTION, differentiable
from graphquant_wq.strategies.limits import MAX_WEIGHT_BITS, SMALLEST_SCALE

Function: TypeAlias = tf.types.experimental.ConcreteFunction
Axes = tuple[int, ...]


def build_max_abs(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """round(w / s) * s, s = max|w| / (2^(b-1) - 1) of a group.

    Rounding passes the gradient straight through; the largest weight of a group has that of the
    scale as well. A group whose scale is not above 1e-6 becomes zero, as in MNN.

    Raises:
        ConfigError: The grid isn't narrow, or has more than 8 bits.

    Source: MNN's converter, symmetric weight quantisation; the gradient is mnncompress'.
    """
    grid = request.grid
    if not grid.narrow or grid.bits > MAX_WEIGHT_BITS:
        raise ConfigError(f"max_abs needs a narrow grid of 2 to {MAX_WEIGHT_BITS} bits, not {grid}")
    function = _max_abs(weight.shape.rank, request.axes, grid.maximum)
    output, scale, offset = call(function, [weight], BY_FUNCTION, "on_grid")
    output.set_shape(weight.shape)
    return FakeQuantized(output, scale, offset, grid)


def build_min_max(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """min + round((w - min) / s) * s, s = (max - min) / (2^b - 1) of a group.

    Rounding passes the gradient straight through; the smallest and the largest weight of a group
    have that of the scale as well. Both ends of the grid are reached by construction, so that
    MNN finds the same grid. A group whose scale is not above 1e-6 becomes its minimum, as in MNN.
    Options:

    - ``keeps_zero``: bool tensor ``[]``; where it is true the grid is the symmetric one of
      `build_max_abs`, which has zero on it.

    Raises:
        ConfigError: The grid is narrow, or has more than 8 bits.

    Source: MNN's converter, asymmetric weight quantisation.
    """
    grid = request.grid
    if grid.narrow or grid.bits > MAX_WEIGHT_BITS:
        raise ConfigError(f"min_max needs a full grid of 2 to {MAX_WEIGHT_BITS} bits, not {grid}")
    function = _min_max(weight.shape.rank, request.axes, grid.bits)
    keeps_zero = request.options.get("keeps_zero", False)
    output, scale, offset = call(function, [weight, keeps_zero], BY_FUNCTION, "on_grid")
    output.set_shape(weight.shape)
    return FakeQuantized(output, scale, offset, grid)


@functools.cache
def _max_abs(rank: int, axes: Axes, maximum: int) -> Function:
    """(weight) -> (on_grid, scale [G] or [], offset int32 of that shape)."""
    others = _others(rank, axes)

    def forward(weight: tf.Tensor) -> list[tf.Tensor]:
        scale = tf.reduce_max(tf.abs(weight), others, keepdims=True) / maximum
        dead, divisor = _divisor(scale)
        codes = tf.round(weight * tf.math.reciprocal(divisor))
        factors = _flat(divisor, axes)
        return [codes * _zero_where(dead, divisor), factors, tf.zeros_like(factors, tf.int32)]

    def backward(
        weight: tf.Tensor,
        on_grid: tf.Tensor,
        scale: tf.Tensor,
        offset: tf.Tensor,  # noqa: ARG001 a gradient gets every result
        upstream: tf.Tensor,
    ) -> list[tf.Tensor]:
        sizes = tf.abs(weight)
        at_end = _one_where(tf.equal(sizes, tf.reduce_max(sizes, others, keepdims=True)))
        count = tf.reduce_sum(at_end, others, keepdims=True)
        share = _of_scale(weight, on_grid, scale, upstream, others) / (maximum * count)
        return [upstream + share * at_end * tf.sign(weight)]

    return differentiable(forward, backward, tf.TensorSpec([None] * rank, tf.float32))


@functools.cache
def _min_max(rank: int, axes: Axes, bits: int) -> Function:
    """(weight, keeps_zero bool []) -> (on_grid, scale [G] or [], offset of that shape)."""
    levels, maximum = 2**bits - 1, 2 ** (bits - 1) - 1
    others = _others(rank, axes)

    def range_of(weight: tf.Tensor, keeps_zero: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        low = tf.reduce_min(weight, others, keepdims=True)
        high = tf.reduce_max(weight, others, keepdims=True)
        largest = tf.maximum(high, -low)
        return tf.where(keeps_zero, -largest, low), tf.where(keeps_zero, largest, high)

    def forward(weight: tf.Tensor, keeps_zero: tf.Tensor) -> list[tf.Tensor]:
        low, high = range_of(weight, keeps_zero)
        scale = tf.where(keeps_zero, high / maximum, (high - low) / levels)
        dead, divisor = _divisor(scale)
        low = _zero_where(
            tf.logical_and(keeps_zero, dead), tf.where(keeps_zero, scale * -maximum, low)
        )
        codes = tf.round((weight - low) * tf.math.reciprocal(divisor))
        factors = _flat(divisor, axes)
        offset = -(2 ** (bits - 1)) - _flat(low, axes) / factors
        return [low + codes * _zero_where(dead, divisor), factors, offset]

    def backward(
        weight: tf.Tensor,
        keeps_zero: tf.Tensor,
        on_grid: tf.Tensor,
        scale: tf.Tensor,
        offset: tf.Tensor,  # noqa: ARG001 a gradient gets every result
        upstream: tf.Tensor,
    ) -> list[tf.Tensor]:
        low, high = range_of(weight, keeps_zero)
        at_low, at_high = _one_where(tf.equal(weight, low)), _one_where(tf.equal(weight, high))
        lows = tf.reduce_sum(at_low, others, keepdims=True)
        highs = tf.reduce_sum(at_high, others, keepdims=True)
        # On the symmetric grid both ends are one: the weights of the largest size.
        ends = (lows + highs) * (maximum / levels)
        share = _of_scale(weight, on_grid, scale, upstream, others) / levels
        of_low, of_high = (share / tf.where(keeps_zero, ends, count) for count in (lows, highs))
        return [upstream + at_high * of_high - at_low * of_low]

    weights, flag = tf.TensorSpec([None] * rank, tf.float32), tf.TensorSpec([], tf.bool)
    return differentiable(forward, backward, weights, flag)


def _divisor(scale: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which groups are too small for MNN, and the scale to divide by, 1 for those."""
    dead = scale <= SMALLEST_SCALE
    return dead, tf.where(dead, tf.ones_like(scale), scale)


def _zero_where(dead: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.where(dead, tf.zeros_like(values), values)


def _one_where(chosen: tf.Tensor) -> tf.Tensor:
    return tf.cast(chosen, tf.float32)


def _of_scale(
    weight: tf.Tensor,
    on_grid: tf.Tensor,
    scale: tf.Tensor,
    upstream: tf.Tensor,
    others: list[int],
) -> tf.Tensor:
    """The gradient of the scale of each group: sum of upstream * (code - weight / scale)."""
    moved = tf.reduce_sum(upstream * (on_grid - weight), others, keepdims=True)
    return moved / tf.reshape(scale, tf.shape(moved))


def _others(rank: int, axes: Axes) -> list[int]:
    """The axes that a group runs along."""
    return [axis for axis in range(rank) if axis not in axes]


def _flat(values: tf.Tensor, axes: Axes) -> tf.Tensor:
    return tf.reshape(values, [-1] if axes else [])
