"""Symmetric range from the largest magnitude."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from graphquant_core.calibration.estimator import Range, as_range, calibration_matrix
from graphquant_core.grid import Grid
from graphquant_core.quant_params import Float32Array
from graphquant_core.quantize import symmetric_scale


def max_abs_range(values: npt.ArrayLike, grid: Grid, axes: Sequence[int] = ()) -> Range:
    """(grid.minimum * s, grid.maximum * s) with s = max|values| / grid.maximum, per channel.

    On a full grid the range is (-128s, 127s), not (-m, m): its zero point is exact.

    Raises:
        RangeError: `values` is empty, or `axes` are not axes of it.
        NonFiniteError: `values` holds NaN or infinity.
    """
    matrix = calibration_matrix(values, axes)
    return symmetric_range(symmetric_scale(np.abs(matrix).max(axis=0), grid), grid, axes)


def symmetric_range(scale: Float32Array, grid: Grid, axes: Sequence[int]) -> Range:
    """(grid.minimum * scale, grid.maximum * scale) for the scales ``[C]``."""
    return as_range(scale * np.float32(grid.minimum), scale * np.float32(grid.maximum), axes)
