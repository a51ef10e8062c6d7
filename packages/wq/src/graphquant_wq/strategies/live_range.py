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

    def steps_of(weight: tf.Tensor) -> tuple[tf.Tensor, ...]:
        largest = tf.reduce_max(tf.abs(weight), others, keepdims=True)
        dead, divisor = _divisor(largest / maximum)
        return weight * tf.math.reciprocal(divisor), largest, dead, divisor

    def forward(weight: tf.Tensor) -> list[tf.Tensor]:
        steps, _, dead, divisor = steps_of(weight)
        on_grid = tf.round(steps) * _zero_where(dead, divisor)
        factors = _flat(divisor, axes)
        return [on_grid, factors, tf.zeros_like(factors, tf.int32)]

    def backward(weight: tf.Tensor, upstream: tf.Tensor) -> list[tf.Tensor]:
        steps, largest, _, _ = steps_of(weight)
        of_scale = _gradient_of_scale(steps, upstream, others)
        return [upstream + of_scale * _of_largest(weight, largest, others) / maximum]

    return differentiable(forward, backward, tf.TensorSpec([None] * rank, tf.float32))


@functools.cache
def _min_max(rank: int, axes: Axes, bits: int) -> Function:
    """(weight, keeps_zero bool []) -> (on_grid, scale [G] or [], offset of that shape)."""
    levels, maximum = 2**bits - 1, 2 ** (bits - 1) - 1
    others = _others(rank, axes)

    def steps_of(weight: tf.Tensor, keeps_zero: tf.Tensor) -> tuple[tf.Tensor, ...]:
        low = tf.reduce_min(weight, others, keepdims=True)
        high = tf.reduce_max(weight, others, keepdims=True)
        symmetric = tf.maximum(high, -low) / maximum
        dead, divisor = _divisor(tf.where(keeps_zero, symmetric, (high - low) / levels))
        first = tf.where(keeps_zero, symmetric * -maximum, low)
        first = _zero_where(tf.logical_and(keeps_zero, dead), first)
        steps = (weight - first) * tf.math.reciprocal(divisor)
        return steps, low, high, first, dead, divisor

    def forward(weight: tf.Tensor, keeps_zero: tf.Tensor) -> list[tf.Tensor]:
        steps, _, _, first, dead, divisor = steps_of(weight, keeps_zero)
        on_grid = first + tf.round(steps) * _zero_where(dead, divisor)
        factors = _flat(divisor, axes)
        return [on_grid, factors, -(2 ** (bits - 1)) - _flat(first, axes) / factors]

    def backward(weight: tf.Tensor, keeps_zero: tf.Tensor, upstream: tf.Tensor) -> list[tf.Tensor]:
        steps, low, high, _, _, _ = steps_of(weight, keeps_zero)
        of_scale = _gradient_of_scale(steps, upstream, others)
        symmetric = _of_largest(weight, tf.maximum(high, -low), others) / maximum
        ends = _shared(tf.equal(weight, high), others) - _shared(tf.equal(weight, low), others)
        return [upstream + of_scale * tf.where(keeps_zero, symmetric, ends / levels)]

    weights, flag = tf.TensorSpec([None] * rank, tf.float32), tf.TensorSpec([], tf.bool)
    return differentiable(forward, backward, weights, flag)


def _divisor(scale: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which groups are too small for MNN, and the scale to divide by, 1 for those."""
    dead = scale <= SMALLEST_SCALE
    return dead, tf.where(dead, tf.ones_like(scale), scale)


def _zero_where(dead: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.where(dead, tf.zeros_like(values), values)


def _gradient_of_scale(steps: tf.Tensor, upstream: tf.Tensor, others: list[int]) -> tf.Tensor:
    """Sum over each group of upstream * (round(steps) - steps)."""
    return tf.reduce_sum(upstream * (tf.round(steps) - steps), others, keepdims=True)


def _of_largest(weight: tf.Tensor, largest: tf.Tensor, others: list[int]) -> tf.Tensor:
    """The gradient of max|w| of each group."""
    return _shared(tf.equal(tf.abs(weight), largest), others) * tf.sign(weight)


def _shared(chosen: tf.Tensor, others: list[int]) -> tf.Tensor:
    """1 for a weight that is chosen; weights of a group that are chosen together share it."""
    share = tf.cast(chosen, tf.float32)
    return tf.math.divide_no_nan(share, tf.reduce_sum(share, others, keepdims=True))


def _others(rank: int, axes: Axes) -> list[int]:
    """The axes that a group runs along."""
    return [axis for axis in range(rank) if axis not in axes]


def _flat(values: tf.Tensor, axes: Axes) -> tf.Tensor:
    return tf.reshape(values, [-1] if axes else [])
