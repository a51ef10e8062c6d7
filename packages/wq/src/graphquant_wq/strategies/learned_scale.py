"""Fake quantisation of a weight by a trained scale, and a trained zero point when asymmetric.

The trained numbers are held where MNN's converter, which derives each grid from the weights on
it, finds the same grid: the extreme codes of every group stay in use.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.graph.function_call import call
from graphquant_core.grid import Grid
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_wq.graph.gradients import BY_FUNCTION, differentiable
from graphquant_wq.mse_range import start_range
from graphquant_wq.strategies.limits import SMALLEST_SCALE

v1 = tf.compat.v1

Function: TypeAlias = tf.types.experimental.ConcreteFunction
Shape = tuple[int, ...]

LOG_SCALE, ZERO_POINT = "wq_log_scale", "wq_zero_point"

_MARGIN = 1e-3
"""Steps by which an extreme weight stays clear of the rounding tie to the next code."""


def build_learned_symmetric(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """s * round(clip(w / s, ±qmax)) with a trained s = exp(p), p = ``<key>/wq_log_scale``, [G].

    The gradient is LSQ's: rounding passes it, clipping stops it for the weight. s is held where
    the largest weight of the group rounds to qmax, so that the weights on the grid tell the grid.

    Source: LSQ (arXiv:1902.08153).
    """
    function = _symmetric(tuple(weight.shape.as_list()), request.axes, request.grid)
    arguments = [weight, _per_group(weight, request, LOG_SCALE)]
    output, scale, offset = call(function, arguments, BY_FUNCTION, "on_grid")
    return FakeQuantized(output, scale, offset, request.grid)


def build_learned_asymmetric(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """s * (z + round(clip(w / s - z, 0, L))) with a trained s = exp(p) and a trained z.

    L = 2^b - 1; z, ``<key>/wq_zero_point``, counts steps and is no integer. The gradient is
    LSQ+'s. s and z are held where the smallest weight of the group rounds to code 0 and the
    largest to code L, so that the weights on the grid tell the grid. Options:

    - ``keeps_zero``: bool tensor ``[]``; where it is true the grid is the symmetric one.

    Source: LSQ+ (arXiv:2004.09576).
    """
    function = _asymmetric(tuple(weight.shape.as_list()), request.axes, request.grid)
    trained = [_per_group(weight, request, name) for name in (LOG_SCALE, ZERO_POINT)]
    arguments = [weight, *trained, request.options.get("keeps_zero", False)]
    output, scale, offset = call(function, arguments, BY_FUNCTION, "on_grid")
    return FakeQuantized(output, scale, offset, request.grid)


@functools.cache
def _symmetric(shape: Shape, axes: Shape, grid: Grid) -> Function:
    """(weight, log_scale [G]) -> (on_grid, scale [G], offset int32 [G])."""
    trained = per_channel_shape(shape, axes)

    def forward(weight: tf.Tensor, log_scale: tf.Tensor) -> list[tf.Tensor]:
        low, high = _live_range(weight, axes)
        scale = tf.exp(tf.reshape(log_scale, trained))
        scale = _held(scale, _widest_symmetric(low, high, grid))
        codes = _round(tf.clip_by_value(weight / scale, -grid.maximum, grid.maximum))
        factors = tf.reshape(scale, [-1])
        return [codes * scale, factors, tf.zeros_like(factors, tf.int32)]

    def backward(
        weight: tf.Tensor,
        log_scale: tf.Tensor,
        on_grid: tf.Tensor,
        scale: tf.Tensor,
        offset: tf.Tensor,  # noqa: ARG001 a gradient gets every result
        upstream: tf.Tensor,
    ) -> list[tf.Tensor]:
        inside = tf.cast(tf.abs(weight) <= tf.reshape(scale * grid.maximum, trained), tf.float32)
        others = [axis for axis in range(len(shape)) if axis not in axes]
        # s * (code - w / s inside), where nothing holds s.
        moved = tf.reduce_sum(upstream * (on_grid - weight * inside), others)
        free = tf.cast(tf.equal(scale, tf.exp(log_scale)), tf.float32)
        return [upstream * inside, tf.reshape(moved, [-1]) * free]

    group = tf.TensorSpec([math.prod(trained)], tf.float32)
    return differentiable(forward, backward, tf.TensorSpec(shape, tf.float32), group)


@functools.cache
def _asymmetric(shape: Shape, axes: Shape, grid: Grid) -> Function:
    """(weight, log_scale [G], zero [G], keeps_zero bool []) -> (on_grid, scale [G], offset [G])."""
    trained = per_channel_shape(shape, axes)

    def forward(
        weight: tf.Tensor, log_scale: tf.Tensor, zero: tf.Tensor, keeps_zero: tf.Tensor
    ) -> list[tf.Tensor]:
        low, high = _live_range(weight, axes)
        spread = (high - low) / (grid.levels - 1 + 2 * _MARGIN)
        widest = tf.where(keeps_zero, _widest_symmetric(low, high, grid), spread)
        scale = _held(tf.exp(tf.reshape(log_scale, trained)), widest)
        fixed = tf.stop_gradient(scale)
        zero = tf.reshape(zero, trained)
        zero = tf.minimum(zero, high / fixed - grid.levels + 0.5 - _MARGIN)
        zero = tf.maximum(zero, low / fixed - 0.5 + _MARGIN)
        zero = tf.where(keeps_zero, float(-grid.maximum), zero)
        last = tf.where(keeps_zero, 2.0 * grid.maximum, float(grid.levels))
        codes = _round(tf.clip_by_value(weight / scale - zero, 0.0, last))
        offset = grid.minimum - tf.reshape(zero, [-1])
        return [(codes + zero) * scale, tf.reshape(scale, [-1]), offset]

    group = tf.TensorSpec([math.prod(trained)], tf.float32)
    weight, keeps_zero = tf.TensorSpec(shape, tf.float32), tf.TensorSpec([], tf.bool)
    return _with_gradient(forward, (weight, group, group, keeps_zero))


def _with_gradient(
    forward: Callable[..., list[tf.Tensor]], signature: Sequence[tf.TensorSpec]
) -> Function:
    """`forward` as a function whose gradient is a function as well."""
    trained = sum(spec.dtype == tf.float32 for spec in signature)

    def backward(*arguments: tf.Tensor) -> list[tf.Tensor]:
        inputs, upstream = arguments[: len(signature)], arguments[-1]
        gradients: list[tf.Tensor] = tf.gradients(
            forward(*inputs)[0], list(inputs[:trained]), upstream
        )
        return gradients

    return differentiable(forward, backward, *signature)


def learned_start(rows: npt.NDArray[np.float32], grid: Grid) -> dict[str, npt.NDArray[np.float32]]:
    """Values of the variables for `rows`, ``[G, n]``: the range of least squared error."""
    low, high = start_range(rows, grid)
    step = np.maximum((high - low) / np.float32(grid.levels), np.float32(SMALLEST_SCALE))
    start = {LOG_SCALE: np.log(step)}
    if not grid.narrow:
        start[ZERO_POINT] = low / step
    return start


def _live_range(weight: tf.Tensor, axes: Shape) -> tuple[tf.Tensor, tf.Tensor]:
    values = tf.stop_gradient(weight)
    others = [axis for axis in range(weight.shape.rank) if axis not in axes]
    low = tf.reduce_min(values, others, keepdims=True)
    return low, tf.reduce_max(values, others, keepdims=True)


def _widest_symmetric(low: tf.Tensor, high: tf.Tensor, grid: Grid) -> tf.Tensor:
    """The largest scale at which the largest weight rounds to qmax."""
    return tf.maximum(high, -low) * (1 - _MARGIN) / (grid.maximum - 0.5)


def _held(scale: tf.Tensor, widest: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.minimum(scale, widest), SMALLEST_SCALE)


def _round(values: tf.Tensor) -> tf.Tensor:
    with values.graph.gradient_override_map({"Round": "Identity"}):
        return tf.round(values)


def _per_group(weight: tf.Tensor, request: QuantizerRequest, name: str) -> tf.Tensor:
    """A trained variable with a number for each group, [G]."""
    variable = v1.get_variable(
        f"{request.key}/{name}",
        shape=[math.prod(per_channel_shape(weight.shape.as_list(), request.axes))],
        dtype=tf.float32,
        initializer=v1.zeros_initializer(),
        trainable=True,
        use_resource=True,
    )
    return variable.read_value()
