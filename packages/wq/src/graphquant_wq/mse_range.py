"""The range of each group that a grid fits with the least squared error, by search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphquant_core.grid import Grid

Float32Array = npt.NDArray[np.float32]
Range = tuple[Float32Array, Float32Array]

_LONGEST_GROUP = 1024
"""Weights of a group that the search looks at; more don't move the result."""

_SMALLEST_FRACTION = {2: 0.2, 3: 0.35, 4: 0.5}
"""Smallest part of the range worth trying, by bits; more bits clip less."""

_FRACTIONS = 12
_REFINEMENTS = 3


def clip_to_best(rows: Float32Array, grid: Grid) -> Float32Array:
    """`rows`, one group a row, clipped to `best_range`; float32 ``[G, n]``."""
    low, high = best_range(rows, grid)
    return np.clip(rows, low[:, None], high[:, None])


def best_range(rows: Float32Array, grid: Grid) -> Range:
    """(lo, hi) within each row's [min, max] whose grid has about the least squared error.

    A narrow grid is symmetric, lo = -hi; a full one puts its codes evenly from lo to hi, wherever
    zero is. Several fractions of the row's range are tried; the best is refined by alternating
    between the codes and the least-squares fit w ≈ a + b * code. The error is never above that
    of the row's own range.

    Args:
        rows: float32 ``[G, n]``, one group a row.
        grid: Narrow for a symmetric range, full for an asymmetric one.

    Returns:
        float32 ``[G]`` each.
    """
    sample = _sample(rows)
    best = _whole_range(sample, grid)
    least = _error(sample, *best, grid)
    limits = best
    for fraction in np.linspace(1, _SMALLEST_FRACTION.get(grid.bits, 0.6), _FRACTIONS)[1:]:
        best, least = _keep_better(sample, best, least, _shrunk(limits, fraction), grid)
    for _ in range(_REFINEMENTS):
        refined = _refined(sample, *best, grid)
        refined = (np.maximum(refined[0], limits[0]), np.minimum(refined[1], limits[1]))
        best, least = _keep_better(sample, best, least, refined, grid)
    return best


def _sample(rows: Float32Array) -> Float32Array:
    """At most 1024 columns of sorted `rows`, the first and the last among them."""
    size = rows.shape[1]
    if size <= _LONGEST_GROUP:
        return rows
    chosen = np.unique(np.linspace(0, size - 1, _LONGEST_GROUP).astype(int))
    return np.sort(rows, axis=1)[:, chosen]


def _whole_range(rows: Float32Array, grid: Grid) -> Range:
    if grid.narrow:
        largest = np.abs(rows).max(axis=1)
        return -largest, largest
    return rows.min(axis=1), rows.max(axis=1)


def _shrunk(limits: Range, fraction: float) -> Range:
    cut = (limits[1] - limits[0]) * np.float32((1 - fraction) / 2)
    return limits[0] + cut, limits[1] - cut


def _steps(rows: Float32Array, low: Float32Array, high: Float32Array, grid: Grid) -> Range:
    """Codes counted from the lowest, as float32 ``[G, n]``, and the step size ``[G]``."""
    step = (high - low) / np.float32(grid.levels)
    divisor = np.where(step > 0, step, np.float32(1))
    scaled = rows - low[:, None]
    scaled /= divisor[:, None]
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, grid.levels, out=scaled), step


def _error(rows: Float32Array, low: Float32Array, high: Float32Array, grid: Grid) -> Float32Array:
    """Squared error of each row on the grid from `low` to `high`, ``[G]``."""
    codes, step = _steps(rows, low, high, grid)
    codes *= step[:, None]
    codes += low[:, None]
    codes -= rows
    error: Float32Array = np.einsum("gn,gn->g", codes, codes)
    return error


def _refined(rows: Float32Array, low: Float32Array, high: Float32Array, grid: Grid) -> Range:
    """The least-squares fit of each row to the codes that it has now."""
    codes, _ = _steps(rows, low, high, grid)
    if grid.narrow:
        codes -= np.float32(grid.levels // 2)
        power = np.einsum("gn,gn->g", codes, codes)
        product = np.einsum("gn,gn->g", codes, rows)
        largest = product / np.where(power > 0, power, 1) * np.float32(grid.maximum)
        largest = np.where(largest > 0, largest, high)
        return -largest, largest
    mean = codes.mean(axis=1, keepdims=True)
    centred = codes - mean
    power = np.einsum("gn,gn->g", centred, centred)
    product = np.einsum("gn,gn->g", centred, rows)
    step = product / np.where(power > 0, power, 1)
    base = rows.mean(axis=1) - step * mean[:, 0]
    good = step > 0
    fitted = base + step * np.float32(grid.levels)
    return np.where(good, base, low), np.where(good, fitted, high)


def _keep_better(
    rows: Float32Array, best: Range, least: Float32Array, tried: Range, grid: Grid
) -> tuple[Range, Float32Array]:
    error = _error(rows, *tried, grid)
    better = error < least
    kept = (np.where(better, tried[0], best[0]), np.where(better, tried[1], best[1]))
    return kept, np.minimum(error, least)
