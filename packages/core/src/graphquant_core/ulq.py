"""Gradient of the ULQ activation quantiser, with trained clip_max and clip_min."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import RangeError
from graphquant_core.grid import Grid
from graphquant_core.quant_params import Float32Array
from graphquant_core.quantize import affine_params


def ulq_gradient(
    x: npt.ArrayLike, upstream: npt.ArrayLike, clip_max: float, clip_min: float, grid: Grid
) -> tuple[Float32Array, np.float32, np.float32]:
    """dx = g·inside, dclip_max = Σ g·(e + above), dclip_min = Σ g·(below - e).

    e = (round(v) - v) / levels with v = clip(x) / scale, where x above the grid counts as
    clip_max and x below it as clip_min; scale and offset are those of `affine_params`.

    `x` and `upstream` (g) have one shape, which dx has too; the sums run in float64.

    Raises:
        NonFiniteError: a clip is NaN or infinite.
        RangeError: the clips, widened to hold 0, leave no range; or the shapes differ.

    Source: AMCT's ULQ for PyTorch (`ulq_retrain_impl.py`).
    """
    values, gradient = np.asarray(x, np.float32), np.asarray(upstream, np.float32)
    if values.shape != gradient.shape:
        raise RangeError(
            f"upstream (shape {list(gradient.shape)}) must have the shape of x, "
            f"{list(values.shape)}"
        )
    high, low = np.float32(max(clip_max, 0.0)), np.float32(min(clip_min, 0.0))
    if high == low:
        raise RangeError(f"clip_max ({clip_max}) and clip_min ({clip_min}) leave no range")
    params = affine_params(low, high, grid)
    above = values > params.scale * np.float32(grid.maximum - params.offset)
    below = values < params.scale * np.float32(grid.minimum - params.offset)
    steps = np.where(above, high, np.where(below, low, values)) / params.scale
    error = (np.rint(steps) - steps).astype(np.float64) / grid.levels
    clip_max_gradient = np.float32(np.sum(gradient * (error + above)))
    clip_min_gradient = np.float32(np.sum(gradient * (below - error)))
    return np.where(above | below, np.float32(0), gradient), clip_max_gradient, clip_min_gradient
