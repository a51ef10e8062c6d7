"""Squared error of rounding many values to a grid, for many grids, without rounding each value."""

from __future__ import annotations

import numpy as np

from graphquant_core.quant_params import Float32Array


class SortedValues:
    """Values of one channel, sorted once; then a grid costs as much as it has codes.

    Args:
        values: float32 ``[n]``, finite.
    """

    def __init__(self, values: Float32Array) -> None:
        self._values = np.sort(values).astype(np.float64)
        self._sums = np.concatenate([[0.0], np.cumsum(self._values)])
        self._squares = np.concatenate([[0.0], np.cumsum(np.square(self._values))])

    def squared_error(self, points: Float32Array) -> float:
        """Σ (p - x)², p the one of `points` that is nearest to x.

        Of the values nearest to p, Σ (p - x)² = Σ x² - 2 p Σ x + n p²: differences of sums that are
        known.

        Args:
            points: Increasing, ``[codes]``.
        """
        points = points.astype(np.float64)
        ends = np.searchsorted(self._values, (points[1:] + points[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(self._values)]])
        counts, sums, squares = (
            np.diff(ends),
            np.diff(self._sums[ends]),
            np.diff(self._squares[ends]),
        )
        return float(max(np.sum(squares - 2 * points * sums + counts * points**2), 0.0))
