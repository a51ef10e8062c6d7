"""Quantisation as formulas over arrays; every TensorFlow version is tested against these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import RangeError
from graphquant_core.finite import check_finite
from graphquant_core.grid import Grid
from graphquant_core.quant_params import Float32Array, Int32Array, QuantParams

FLOAT32_EPSILON = np.float32(1.192092896e-7)
"""Scales below this become 1.0: nothing is there to quantise."""


def quantize(x: npt.ArrayLike, params: QuantParams) -> Int32Array:
    """clip(round(x / scale) + offset, minimum, maximum), ties to even.

    The arithmetic is float64 for a float64 `x`, else float32, as in a float32 graph.

    Raises:
        NonFiniteError: `x` holds NaN or infinity.
        RangeError: the channels of `x` are not those of `params`.
    """
    values = np.asarray(x)
    if values.dtype != np.float64:
        values = values.astype(np.float32)
    check_finite(values, "x")
    scale, offset = params.broadcast(values.shape)
    with np.errstate(over="ignore"):
        steps = np.rint(values / scale.astype(values.dtype))
    codes = np.clip(steps + offset.astype(values.dtype), params.grid.minimum, params.grid.maximum)
    return np.asarray(codes, dtype=np.int32)


def dequantize(codes: npt.NDArray[np.integer[Any]], params: QuantParams) -> Float32Array:
    """(codes - offset) * scale, float32.

    Raises:
        RangeError: the channels of `codes` are not those of `params`.
    """
    scale, offset = params.broadcast(codes.shape)
    steps = np.subtract(codes, offset, dtype=np.int32)
    return np.asarray(steps.astype(np.float32) * scale, dtype=np.float32)


def fake_quantize(x: npt.ArrayLike, params: QuantParams) -> Float32Array:
    """dequantize(quantize(x)): the value of the grid nearest to x, float32.

    Raises:
        NonFiniteError: `x` holds NaN or infinity.
        RangeError: the channels of `x` are not those of `params`.
    """
    return dequantize(quantize(x, params), params)


def symmetric_scale(max_abs: npt.ArrayLike, grid: Grid) -> Float32Array:
    """max_abs / grid.maximum, float32; 1.0 for a dead channel (scale below 1.192092896e-7).

    Raises:
        NonFiniteError: `max_abs` holds NaN or infinity.
        RangeError: `max_abs` is negative.
    """
    largest = np.asarray(max_abs, dtype=np.float32)
    check_finite(largest, "max_abs")
    if (largest < 0).any():
        raise RangeError(f"max_abs ({largest.min()}) must not be negative")
    scale = largest / np.float32(grid.maximum)
    return np.where(scale < FLOAT32_EPSILON, np.float32(1), scale)


def symmetric_params(max_abs: npt.ArrayLike, grid: Grid, axes: Sequence[int] = ()) -> QuantParams:
    """``symmetric_scale(max_abs)`` with offset 0.

    Raises:
        NonFiniteError: `max_abs` holds NaN or infinity.
        RangeError: `max_abs` is negative, or its shape doesn't fit `axes`.
    """
    scale = symmetric_scale(max_abs, grid)
    return QuantParams(scale, np.zeros(scale.shape, np.int32), grid, axes)


def affine_params(
    minimum: npt.ArrayLike, maximum: npt.ArrayLike, grid: Grid, axes: Sequence[int] = ()
) -> QuantParams:
    """scale = (max - min) / levels, offset = grid.minimum + round(-min / scale), ties away from 0.

    The range is first widened to hold 0. A range whose scale is below 1.192092896e-7 gets scale
    1.0 and the lowest offset. `minimum` and `maximum` are ``[]``, or ``[C]`` with `axes`.

    Raises:
        NonFiniteError: an end of the range is NaN or infinite.
        RangeError: minimum > maximum, or a shape doesn't fit `axes`.

    Source: the nudging of TensorFlow's FakeQuantWithMinMaxVars, float32 step by step, including
        that a narrow grid counts from 1 there.
    """
    low, high = _range_with_zero(minimum, maximum)
    with np.errstate(over="ignore"):
        scale = (high - low) / np.float32(grid.levels)
    check_finite(scale, "the scale of the range")
    scale = np.where(scale < FLOAT32_EPSILON, np.float32(1), scale)
    first = np.float32(grid.narrow)
    zero = np.clip(_round_half_away(first - low / scale), first, first + grid.levels)
    steps = (zero - first).astype(np.int32)
    return QuantParams(scale, grid.minimum + steps, grid, axes)


def _range_with_zero(
    minimum: npt.ArrayLike, maximum: npt.ArrayLike
) -> tuple[Float32Array, Float32Array]:
    low, high = np.asarray(minimum, np.float32), np.asarray(maximum, np.float32)
    check_finite(low, "minimum")
    check_finite(high, "maximum")
    if low.shape != high.shape:
        raise RangeError(
            f"minimum (shape {list(low.shape)}) and maximum (shape {list(high.shape)}) "
            "must have the same shape"
        )
    if (low > high).any():
        first = int(np.argmax(low > high))
        raise RangeError(
            f"minimum ({low.flat[first]}) must not be above maximum ({high.flat[first]})"
        )
    return np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))


def _round_half_away(x: Float32Array) -> Float32Array:
    """Nearest integer of x >= 0, ties upwards, without the rounding error of ``x + 0.5``."""
    whole = np.floor(x)
    return np.asarray(whole + (x - whole >= np.float32(0.5)), dtype=np.float32)
