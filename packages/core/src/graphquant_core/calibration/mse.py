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

    def params(tried: Float32Array) -> QuantParams:
        return symmetric_params((largest * tried).reshape(-1), grid, (1,))

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

    def search(shrink: Callable[[Float32Array], tuple[Float32Array, Float32Array]]) -> Float32Array:
        def params(shares: Float32Array) -> QuantParams:
            minimum, maximum = np.broadcast_arrays(*shrink(shares))
            return affine_params(minimum.reshape(-1), maximum.reshape(-1), grid, (1,))

        return _best_fraction(columns, tried, params)

    low = lowest * search(lambda f: (lowest * f, highest * f))
    high = highest * search(lambda f: (low, highest * f))
    low = lowest * search(lambda f: (lowest * f, high))
    high = highest * search(lambda f: (low, highest * f))
    return as_range(low, high, axes)


def _best_fraction(
    columns: Sequence[SortedValues],
    fractions: Iterable[float],
    params: Callable[[Float32Array], QuantParams],
) -> Float32Array:
    """The fraction of least squared error for each column, float32 ``[C]``.

    Args:
        columns: The values of each of the C columns.
        fractions: What is tried.
        params: The F * C grids for fractions ``[F, 1]``, those of the first fraction first.
    """
    tried = np.array([*fractions], np.float32)
    grids = params(tried[:, None])
    codes = np.arange(grids.grid.minimum, grids.grid.maximum + 1, dtype=np.int32)
    scales, offsets = (x.reshape(-1, len(columns), 1) for x in (grids.scale, grids.offset))
    best = []
    for number, column in enumerate(columns):
        steps = (codes - offsets[:, number]).astype(np.float32)
        best.append(tried[np.argmin(column.squared_errors(steps * scales[:, number]))])
    return np.array(best, np.float32)
