"""Range that leaves out the rarest values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from graphquant_core.calibration.estimator import Range, as_range, calibration_matrix
from graphquant_core.exceptions import RangeError
from graphquant_core.grid import Grid
from graphquant_core.quant_params import Float32Array


def percentile_range(
    values: npt.ArrayLike, grid: Grid, axes: Sequence[int] = (), *, fraction: float = 0.9999
) -> Range:
    """Quantiles 1 - fraction and fraction of each channel, widened to hold 0.

    The quantiles are values that occur, without interpolation; the same on every grid.

    Raises:
        RangeError: `values` is empty, `axes` are not axes of it, or `fraction` is not in (0.5, 1].
        NonFiniteError: `values` holds NaN or infinity.
    """
    del grid  # part of the common signature
    matrix = calibration_matrix(values, axes)
    count = rank_from_top(len(matrix), fraction)
    return as_range(*ends_at_rank(matrix, count), axes)


def rank_from_top(size: int, fraction: float) -> int:
    """k = max(1, size - int(fraction * size)): the k-th largest value is the quantile.

    Raises:
        RangeError: `fraction` is not in (0.5, 1].
    """
    if not 0.5 < fraction <= 1:
        raise RangeError(f"fraction ({fraction}) must be above 0.5 and at most 1")
    return max(1, size - int(fraction * size))


def ends_at_rank(matrix: Float32Array, rank: int) -> tuple[Float32Array, Float32Array]:
    """The `rank`-th smallest and the `rank`-th largest value of each column, ``[C]`` each."""
    ordered = np.partition(matrix, (rank - 1, len(matrix) - rank), axis=0)
    return ordered[rank - 1], ordered[len(matrix) - rank]
