"""The range of each group that a grid fits with the least squared error, by search."""

from __future__ import annotations

import numpy as np

from graphquant_core.grid import Grid
from graphquant_wq.range_search import Float32Array, Range, RangeSearch

_SMALLEST_START = {2: 0.2, 3: 0.35, 4: 0.5}
"""Smallest part of a group's range that training starts from, by bits; 0.6 for more bits."""

_SMALLEST_FRACTION = 0.1
_STARTS, _FRACTIONS, _HALVINGS, _REFINEMENTS = 12, 8, 4, 3

_ROUNDS_TO_END = 0.499
"""Steps that a group may end short of an end of its range: its last weight still rounds there."""


def clip_to_start(rows: Float32Array, grid: Grid) -> Float32Array:
    """`rows`, one group a row, clipped to `start_range`; float32 ``[G, n]``."""
    low, high = start_range(rows, grid)
    return np.clip(rows, low[:, None], high[:, None])


def start_range(rows: Float32Array, grid: Grid) -> Range:
    """(lo, hi) of each row, within its own, for training to start from.

    Both ends are cut alike, by the share with the least squared error, and refined as in
    `best_range`. That has a smaller error, but where few weights make a group it clips so many
    that training ends lower: by up to a point at 2 bits, in the digits benchmark.

    Args:
        rows: float32 ``[G, n]``, one group a row.
        grid: Narrow for a symmetric range, full for an asymmetric one.

    Returns:
        float32 ``[G]`` each.
    """
    search = RangeSearch(rows, grid, beyond=0.0)
    for fraction in np.linspace(1, _SMALLEST_START.get(grid.bits, 0.6), _STARTS)[1:]:
        search.try_range(_shrunk(search.whole, fraction))
    for _ in range(_REFINEMENTS):
        search.refine()
    return search.low, search.high


def fit_to_best(rows: Float32Array, grid: Grid) -> Float32Array:
    """`rows`, one group a row, whose ends are those of `best_range`; float32 ``[G, n]``.

    What lies beyond an end is clipped to it. Where none does, the weight next to it, which rounds
    to it, is moved there.
    """
    low, high = best_range(rows, grid)
    fitted = np.clip(rows, low[:, None], high[:, None])
    groups = np.arange(len(rows))
    if grid.narrow:
        largest = np.abs(fitted).argmax(axis=1)
        fitted[groups, largest] = np.copysign(high, fitted[groups, largest])
    else:
        fitted[groups, fitted.argmin(axis=1)] = low
        fitted[groups, fitted.argmax(axis=1)] = high
    return fitted


def best_range(rows: Float32Array, grid: Grid) -> Range:
    """(lo, hi) of each row whose grid has about the least squared error.

    A narrow grid is symmetric, lo = -hi; a full one puts its codes evenly from lo to hi, wherever
    zero is. Several fractions of the row's range are tried; from the best, the ends are moved by
    steps that are halved, and the result is refined by alternating between the codes and the
    least-squares fit w ≈ a + b * code. The error is never above that of the row's own range. An
    end may lie beyond the row's by less than half a step, so that a weight still rounds to it.

    Args:
        rows: float32 ``[G, n]``, one group a row.
        grid: Narrow for a symmetric range, full for an asymmetric one.

    Returns:
        float32 ``[G]`` each.
    """
    search = RangeSearch(rows, grid, _ROUNDS_TO_END)
    levels = np.float32(grid.levels)
    widest = levels / (levels - 2 * search.beyond)
    for fraction in np.geomspace(widest, _SMALLEST_FRACTION, _FRACTIONS, dtype=np.float32):
        search.try_range(_shrunk(search.whole, fraction))
    search.refine()
    step = (search.high - search.low) / np.float32(2)
    moves = np.array([(-1, 1), (1, -1)] if grid.narrow else [(-1, 0), (1, 0), (0, -1), (0, 1)])
    for _ in range(_HALVINGS):
        step = step / np.float32(2)
        for down, up in moves.astype(np.float32):
            search.try_range((search.low + down * step, search.high + up * step))
    for _ in range(_REFINEMENTS - 1):
        search.refine()
    return search.low, search.high


def _shrunk(limits: Range, fraction: float) -> Range:
    cut = (limits[1] - limits[0]) * np.float32((1 - fraction) / 2)
    return limits[0] + cut, limits[1] - cut
