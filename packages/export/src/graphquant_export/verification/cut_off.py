"""The share of what is taken of a layer's result that the result's grid cuts off."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_core.value_grid import ValueGrid


class CutOff:
    """Counts values beyond `grid`, batch by batch."""

    def __init__(self, grid: ValueGrid) -> None:
        self._grid = grid
        self._count = self._outside = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Adds a batch of exact values."""
        # A zero point that is a whole number moves the ends by up to half a step, and rounding
        # moves the values: one that many places hold, as a bias behind zeros, may lie beyond both.
        step = self._grid.scale
        outside = (values < self._grid.low - step) | (values > self._grid.high + step)
        self._outside += int(np.count_nonzero(outside))
        self._count += values.size

    def share(self) -> float:
        """0.0 to 1.0: values more than a step beyond the ends, of all."""
        return self._outside / max(self._count, 1)
