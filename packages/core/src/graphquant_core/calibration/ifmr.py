"""AMCT's range search for activations (input feature map reconstruction)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from graphquant_core.calibration.estimator import Range, calibration_matrix
from graphquant_core.calibration.percentile import ends_at_rank, rank_from_top
from graphquant_core.exceptions import RangeError
from graphquant_core.grid import Grid
from graphquant_core.quant_params import Float32Array
from graphquant_core.quantize import FLOAT32_EPSILON

PERCENTILE = 0.999999
SEARCH = (0.7, 1.3, 0.01)


def ifmr_range(
    values: npt.ArrayLike,
    grid: Grid,
    axes: Sequence[int] = (),
    *,
    max_percentile: float = PERCENTILE,
    min_percentile: float = PERCENTILE,
    search: tuple[float, float, float] = SEARCH,
) -> Range:
    """(clip_min, clip_max) = ((qmin - offset) * scale, (qmax - offset) * scale), scale by search.

    The percentile minimum stays. The percentile maximum times r in arange(0.7, 1.3, 0.01) gives
    scale = (maximum - minimum) / levels; the r of the least mean squared error of
    round(clip(x) / scale) * scale wins, the first among equals; offset = qmin - round(min / scale).
    A range whose scale is below 1.192092896e-7 gets scale 1.0 and the lowest offset.

    `search` is (start, stop, step) of r.

    Raises:
        RangeError: `values` is empty, `axes` are not axes of it, a percentile is not in (0.5, 1],
            or `search` holds no positive r.
        NonFiniteError: `values` holds NaN or infinity.

    Source: AMCT's IFMR (`ifmr_impl.py`), with its defaults.
    """
    matrix = calibration_matrix(values, axes)
    low = ends_at_rank(matrix, rank_from_top(len(matrix), min_percentile))[0]
    high = ends_at_rank(matrix, rank_from_top(len(matrix), max_percentile))[1]
    low, high = np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))
    ratios = _ratios(search)
    scale = np.stack(
        [
            _best_scale(column, low[channel], high[channel] * ratios, grid)
            for channel, column in enumerate(matrix.T)
        ]
    )
    degenerate = scale < FLOAT32_EPSILON
    scale = np.where(degenerate, np.float32(1), scale)
    offset = grid.minimum - np.where(degenerate, np.float32(0), np.rint(low / scale))
    shape = (-1,) if axes else ()
    clip_min = (np.float32(grid.minimum) - offset) * scale
    clip_max = (np.float32(grid.maximum) - offset) * scale
    return clip_min.reshape(shape), clip_max.reshape(shape)


def _ratios(search: tuple[float, float, float]) -> Float32Array:
    if not all(map(math.isfinite, search)) or search[2] <= 0 or not 0 < search[0] < search[1]:
        raise RangeError(f"search ({search}) must be 0 < start < stop and a step above 0")
    return np.arange(*search).astype(np.float32)


def _best_scale(
    values: Float32Array, low: np.float32, candidates: Float32Array, grid: Grid
) -> np.float32:
    """The scale of least mean squared error among the candidates for the maximum, ``[]``."""
    scales = (candidates - low) / np.float32(grid.levels)
    errors = []
    for high, scale in zip(candidates, np.maximum(scales, FLOAT32_EPSILON), strict=True):
        quantized = np.rint(np.clip(values, low, high) / scale) * scale
        errors.append(np.mean(np.square(quantized - values), dtype=np.float64))
    return np.float32(scales[int(np.argmin(errors))])
