"""The best of the ranges that are tried for each group of weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphquant_core.grid import Grid

Float32Array = npt.NDArray[np.float32]
Range = tuple[Float32Array, Float32Array]

_LONGEST_GROUP, _EXTREMES = 1024, 128
"""Weights of a group that the search looks at, and how many of them are its lowest and highest."""


class RangeSearch:
    """The range with the least squared error that was tried, of each row.

    Args:
        rows: float32 ``[G, n]``, one group a row.
        grid: Narrow for symmetric ranges, full for asymmetric ones.
        beyond: Steps, below 0.5, that an end may lie beyond the row's.

    Attributes:
        low, high: The ranges, float32 ``[G]`` each; at first the whole ones.
        whole: The whole ranges.
        beyond: As given.
    """

    def __init__(self, rows: Float32Array, grid: Grid, beyond: float) -> None:
        self.beyond = np.float32(beyond)
        self._rows, self._counts = _sample(rows)
        self._grid = grid
        self.whole = self.low, self.high = _whole_range(rows, grid)
        self._least = self._error(self.low, self.high)

    def refine(self) -> None:
        """Try the least-squares fit to the codes that the best ranges give."""
        rows, counts, grid = self._rows, self._counts, self._grid
        codes, _ = _steps(rows, self.low, self.high, grid)
        if grid.narrow:
            codes -= np.float32(grid.levels // 2)
            high = _slope(codes, rows, counts) * np.float32(grid.maximum)
            low = -high
        else:
            total = counts.sum()
            mean = (codes * counts).sum(axis=1) / total
            codes -= mean[:, None]
            step = _slope(codes, rows, counts)
            low = (rows * counts).sum(axis=1) / total - step * mean
            high = low + step * np.float32(grid.levels)
        reach = self._reach(low, high)
        self.try_range(
            (np.maximum(low, self.whole[0] - reach), np.minimum(high, self.whole[1] + reach))
        )

    def try_range(self, tried: Range) -> None:
        """Keep `tried` in those rows whose error is less, and whose weights reach both ends."""
        low, high = tried
        reach = self._reach(low, high)
        fits = (low < high) & (low + reach >= self.whole[0]) & (high - reach <= self.whole[1])
        low, high = np.where(fits, low, self.low), np.where(fits, high, self.high)
        error = self._error(low, high)
        better = error < self._least
        self.low = np.where(better, low, self.low)
        self.high = np.where(better, high, self.high)
        self._least = np.minimum(error, self._least)

    def _reach(self, low: Float32Array, high: Float32Array) -> Float32Array:
        """How far from an end a row's last weight may be, ``[G]``."""
        return (high - low) * (self.beyond / np.float32(self._grid.levels))

    def _error(self, low: Float32Array, high: Float32Array) -> Float32Array:
        """Squared error of each row on the grid from `low` to `high`, ``[G]``."""
        codes, step = _steps(self._rows, low, high, self._grid)
        codes *= step[:, None]
        codes += low[:, None]
        codes -= self._rows
        error: Float32Array = np.einsum("gn,gn->g", codes * self._counts, codes)
        return error


def _sample(rows: Float32Array) -> tuple[Float32Array, Float32Array]:
    """At most 1024 columns of sorted `rows`, and how many weights each stands for, ``[n]``.

    The extremes, which few weights are clipped to, stand for themselves; each of the others is in
    the middle of as many.
    """
    size = rows.shape[1]
    if size <= _LONGEST_GROUP:
        return rows, np.ones(size, np.float32)
    between = _LONGEST_GROUP - 2 * _EXTREMES
    share = (size - 2 * _EXTREMES) / between
    middles = (_EXTREMES + (np.arange(between) + 0.5) * share).astype(int)
    ends = np.arange(_EXTREMES)
    chosen = np.concatenate([ends, middles, size - 1 - ends])
    counts = np.ones(_LONGEST_GROUP, np.float32)
    counts[_EXTREMES:-_EXTREMES] = share
    return np.sort(rows, axis=1)[:, chosen], counts


def _whole_range(rows: Float32Array, grid: Grid) -> Range:
    if grid.narrow:
        largest = np.abs(rows).max(axis=1)
        return -largest, largest
    return rows.min(axis=1), rows.max(axis=1)


def _steps(rows: Float32Array, low: Float32Array, high: Float32Array, grid: Grid) -> Range:
    """Codes counted from the lowest, as float32 ``[G, n]``, and the step size ``[G]``."""
    step = (high - low) / np.float32(grid.levels)
    divisor = np.where(step > 0, step, np.float32(1))
    scaled = rows - low[:, None]
    scaled /= divisor[:, None]
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, grid.levels, out=scaled), step


def _slope(codes: Float32Array, rows: Float32Array, counts: Float32Array) -> Float32Array:
    """The s of the least-squares fit w ≈ s * code in each row, ``[G]``; zero if all codes are."""
    counted = codes * counts
    power = np.einsum("gn,gn->g", counted, codes)
    product = np.einsum("gn,gn->g", counted, rows)
    return np.divide(product, power, out=np.zeros_like(product), where=power > 0)
