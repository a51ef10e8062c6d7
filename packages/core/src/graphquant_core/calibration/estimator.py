"""What every range estimator takes and returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from graphquant_core.channels import channel_matrix
from graphquant_core.exceptions import RangeError
from graphquant_core.finite import check_finite
from graphquant_core.grid import Grid
from graphquant_core.quant_params import Float32Array

Range = tuple[Float32Array, Float32Array]
"""minimum <= 0 and maximum >= 0, float32, ``[]`` for no axes, else ``[C]``."""


class RangeEstimator(Protocol):
    """Turns values into the range that `affine_params` takes."""

    def __call__(self, values: npt.ArrayLike, grid: Grid, axes: Sequence[int] = ()) -> Range:
        """Range of `values` for `grid`, one for each channel along `axes`.

        Raises:
            RangeError: `values` is empty, or `axes` are not axes of it.
            NonFiniteError: `values` holds NaN or infinity.
        """
        ...


def calibration_matrix(values: npt.ArrayLike, axes: Sequence[int]) -> Float32Array:
    """`values` as a checked float32 ``[rest, C]`` matrix.

    Raises:
        RangeError: `values` is empty, or `axes` are not axes of it.
        NonFiniteError: `values` holds NaN or infinity.
    """
    array = np.asarray(values, dtype=np.float32)
    if not array.size:
        raise RangeError(f"values (shape {list(array.shape)}) are empty: there is no range")
    check_finite(array, "values")
    return channel_matrix(array, axes)


def as_range(minimum: Float32Array, maximum: Float32Array, axes: Sequence[int]) -> Range:
    """Vectors ``[C]`` widened to hold 0, in the shape that `axes` ask for."""
    shape = (-1,) if axes else ()
    low = np.minimum(minimum, np.float32(0)).astype(np.float32)
    high = np.maximum(maximum, np.float32(0)).astype(np.float32)
    return low.reshape(shape), high.reshape(shape)
