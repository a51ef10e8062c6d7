"""Range from the extreme values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt

from graphquant_core.calibration.estimator import Range, as_range, calibration_matrix
from graphquant_core.grid import Grid


def min_max_range(values: npt.ArrayLike, grid: Grid, axes: Sequence[int] = ()) -> Range:
    """(min(values, 0), max(values, 0)) of each channel; the same on every grid.

    Raises:
        RangeError: `values` is empty, or `axes` are not axes of it.
        NonFiniteError: `values` holds NaN or infinity.
    """
    del grid  # part of the common signature
    matrix = calibration_matrix(values, axes)
    return as_range(matrix.min(axis=0), matrix.max(axis=0), axes)
