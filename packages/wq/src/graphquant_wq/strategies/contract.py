"""What a weight strategy of this package has beyond the contract of graphquant-core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from graphquant_core.grid import Grid


@runtime_checkable
class StartsByClipping(Protocol):
    """A strategy whose range is that of the weights: clipping them once starts it well."""

    def clip(self, rows: npt.NDArray[np.float32], grid: Grid) -> npt.NDArray[np.float32]:
        """`rows`, ``[G, n]``, one group a row, clipped to the range that `grid` fits best."""
        ...


@runtime_checkable
class StartsVariables(Protocol):
    """A strategy with trained variables ``<key>/<name>``, all zeros until they are started."""

    def variables(self, grid: Grid) -> Sequence[str]:
        """The `name` of each variable that it trains on `grid`."""
        ...

    def start(
        self, rows: npt.NDArray[np.float32], grid: Grid
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """Values of the variables by `name`, for the weights `rows`, one group a row."""
        ...
