"""Fake quantisation of a weight by the live range of each group. It needs no variables."""

from __future__ import annotations

import functools
from typing import TypeAlias

import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.function_call import call, concrete
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_wq.graph.gradients import PASS_THROUGH
from graphquant_wq.strategies.limits import MAX_WEIGHT_BITS, SMALLEST_SCALE

Function: TypeAlias = tf.types.experimental.ConcreteFunction
Axes = tuple[int, ...]


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
    function = _max_abs(weight.shape.rank, request.axes, grid.maximum)
    output, scale, offset = call(function, [weight], PASS_THROUGH, "on_grid")
    output.set_shape(weight.shape)
    return FakeQuantized(output, scale, offset, grid)


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
    function = _min_max(weight.shape.rank, request.axes, grid.bits)
    keeps_zero = request.options.get("keeps_zero", False)
    output, scale, offset = call(function, [weight, keeps_zero], PASS_THROUGH, "on_grid")
    output.set_shape(weight.shape)
    return FakeQuantized(output, scale, offset, grid)


@functools.cache
def _max_abs(rank: int, axes: Axes, maximum: int) -> Function:
    """(weight) -> (on_grid, scale [G] or [], offset int32 of that shape)."""

    @concrete(tf.TensorSpec([None] * rank, tf.float32))
    def function(weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        scale = tf.reduce_max(tf.abs(weight), _others(rank, axes), keepdims=True) / maximum
        dead = scale <= SMALLEST_SCALE
        divisor = tf.where(dead, tf.ones_like(scale), scale)
        codes = tf.round(weight * tf.math.reciprocal(divisor))
        on_grid = codes * tf.where(dead, tf.zeros_like(scale), scale)
        factors = _flat(divisor, axes)
        return on_grid, factors, tf.zeros_like(factors, tf.int32)

    return function


@functools.cache
def _min_max(rank: int, axes: Axes, bits: int) -> Function:
    """(weight, keeps_zero bool []) -> (on_grid, scale [G] or [], offset of that shape)."""
    levels, maximum = 2**bits - 1, 2 ** (bits - 1) - 1

    @concrete(tf.TensorSpec([None] * rank, tf.float32), tf.TensorSpec([], tf.bool))
    def function(
        weight: tf.Tensor, keeps_zero: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        others = _others(rank, axes)
        low = tf.reduce_min(weight, others, keepdims=True)
        high = tf.reduce_max(weight, others, keepdims=True)
        symmetric = tf.maximum(high, -low) / maximum
        scale = tf.where(keeps_zero, symmetric, (high - low) / levels)
        low = tf.where(keeps_zero, symmetric * -maximum, low)
        dead = scale <= SMALLEST_SCALE
        low = tf.where(tf.logical_and(keeps_zero, dead), tf.zeros_like(low), low)
        divisor = tf.where(dead, tf.ones_like(scale), scale)
        codes = tf.round((weight - low) * tf.math.reciprocal(divisor))
        on_grid = low + codes * tf.where(dead, tf.zeros_like(scale), scale)
        factors = _flat(divisor, axes)
        return on_grid, factors, -(2 ** (bits - 1)) - _flat(low, axes) / factors

    return function


def _others(rank: int, axes: Axes) -> list[int]:
    """The axes that a group runs along."""
    return [axis for axis in range(rank) if axis not in axes]


def _flat(values: tf.Tensor, axes: Axes) -> tf.Tensor:
    return tf.reshape(values, [-1] if axes else [])
