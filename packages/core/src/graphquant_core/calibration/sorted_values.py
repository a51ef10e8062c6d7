"""Squared error of rounding many values to a grid, for many grids, without rounding each value."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphquant_core.quant_params import Float32Array

Float64Array = npt.NDArray[np.float64]


class SortedValues:
    """Values of one channel, sorted once; then a grid costs as much as it has codes.

    Args:
        values: float32 ``[n]``, finite.
    """

    def __init__(self, values: Float32Array) -> None:
        self._values = np.sort(values).astype(np.float64)
        self._sums = np.concatenate([[0.0], np.cumsum(self._values)])
        self._squares = np.concatenate([[0.0], np.cumsum(np.square(self._values))])

    def squared_errors(self, points: Float32Array) -> Float64Array:
        """Σ (p - x)² for each of some grids, p the point of it that is nearest to x.

        Of the values nearest to p, Σ (p - x)² = Σ x² - 2 p Σ x + n p²: differences of sums that are
        known.

        Args:
            points: The grids, each increasing, ``[grids, codes]``.

        Returns:
            float64 ``[grids]``.
        """
        wide = points.astype(np.float64)
        ends = np.empty((len(wide), wide.shape[1] + 1), np.int64)
        ends[:, 0], ends[:, -1] = 0, len(self._values)
        ends[:, 1:-1] = np.searchsorted(self._values, (wide[:, 1:] + wide[:, :-1]) / 2)
        counts, sums, squares = (
            np.diff(ends),
            np.diff(self._sums[ends]),
            np.diff(self._squares[ends]),
        )
        off = squares - 2 * wide * sums + counts * wide**2
        return np.asarray(np.maximum(off.sum(axis=1), 0.0))
