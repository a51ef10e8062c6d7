"""Ranges that minimise the squared quantisation error, by search over fractions of the range."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from graphquant_core.calibration.estimator import Range, as_range, calibration_matrix
from graphquant_core.calibration.max_abs import symmetric_range
from graphquant_core.calibration.sorted_values import SortedValues
from graphquant_core.grid import Grid
from graphquant_core.quant_params import Float32Array, QuantParams
from graphquant_core.quantize import (
    affine_params,
    symmetric_params,
    symmetric_scale,
)

FRACTIONS = tuple(np.linspace(1.0, 0.2, 81).tolist())
"""Fractions of the full range that are tried, the full range first."""


def symmetric_mse_range(
    values: npt.ArrayLike,
    grid: Grid,
    axes: Sequence[int] = (),
    *,
    fractions: Iterable[float] = FRACTIONS,
) -> Range:
    """The range (grid.minimum * s, grid.maximum * s), s = fraction * max|x| / qmax, of least MSE.

    Each channel has its own best fraction. With 1.0 among the `fractions` the error is never
    above that of `max_abs_range`. Among equals the earlier fraction wins.

    Raises:
        RangeError: `values` is empty, or `axes` are not axes of it.
        NonFiniteError: `values` holds NaN or infinity.
    """
    matrix = calibration_matrix(values, axes)
    largest = np.abs(matrix).max(axis=0)
    columns = [SortedValues(column) for column in matrix.T]

    def params(fraction: float) -> QuantParams:
        return symmetric_params(largest * np.float32(fraction), grid, (1,))

    best = _best_fraction(columns, fractions, params)
    return symmetric_range(symmetric_scale(largest * best, grid), grid, axes)


def affine_mse_range(
    values: npt.ArrayLike,
    grid: Grid,
    axes: Sequence[int] = (),
    *,
    fractions: Iterable[float] = FRACTIONS,
) -> Range:
    """The range (f1 * min, f2 * max) of small MSE, by coordinate search.

    First both ends shrink together, which keeps an outlier on one side from spoiling the other;
    then the maximum, the minimum and the maximum again are searched alone. Each channel has its
    own fractions. With 1.0 among the `fractions` the error is never above that of
    `min_max_range`. Among equals the earlier fraction wins.

    Raises:
        RangeError: `values` is empty, or `axes` are not axes of it.
        NonFiniteError: `values` holds NaN or infinity.
    """
    matrix = calibration_matrix(values, axes)
    tried = tuple(fractions)
    columns = [SortedValues(column) for column in matrix.T]
    lowest, highest = (end.reshape(-1) for end in as_range(matrix.min(0), matrix.max(0), (0,)))

    def search(shrink: Callable[[float], tuple[Float32Array, Float32Array]]) -> Float32Array:
        return _best_fraction(columns, tried, lambda f: affine_params(*shrink(f), grid, (1,)))

    low = lowest * search(lambda f: (lowest * np.float32(f), highest * np.float32(f)))
    high = highest * search(lambda f: (low, highest * np.float32(f)))
    low = lowest * search(lambda f: (lowest * np.float32(f), high))
    high = highest * search(lambda f: (low, highest * np.float32(f)))
    return as_range(low, high, axes)


def _best_fraction(
    columns: Sequence[SortedValues],
    fractions: Iterable[float],
    params: Callable[[float], QuantParams],
) -> Float32Array:
    """The fraction of least squared error for each column, float32 ``[C]``."""
    best = np.ones(len(columns), np.float32)
    least = np.full(len(columns), np.inf)
    for fraction in fractions:
        points = _points(params(fraction))
        errors = [column.squared_error(row) for column, row in zip(columns, points, strict=True)]
        best = np.where(errors < least, np.float32(fraction), best)
        least = np.minimum(errors, least)
    return best


def _points(params: QuantParams) -> Float32Array:
    """Every value of the grid of each channel, ``[C, codes]``."""
    codes = np.arange(params.grid.minimum, params.grid.maximum + 1)
    steps = codes - np.reshape(params.offset, (-1, 1))
    return np.asarray(steps.astype(np.float32) * np.reshape(params.scale, (-1, 1)), np.float32)
