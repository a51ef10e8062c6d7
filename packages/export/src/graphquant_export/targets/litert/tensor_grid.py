"""The grid of an int8 activation: x ≈ (q - zero_point) * scale, q from -128 to 127."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np

LOWEST, HIGHEST = -128, 127


def _float32(value: float) -> float:
    return float(np.float32(value))


@attrs.frozen
class TensorGrid:
    """One scale and zero point.

    Attributes:
        scale: A float32 value above zero.
        zero_point: -128 to 127.
    """

    scale: float = attrs.field(converter=_float32)
    zero_point: int

    @property
    def low(self) -> float:
        """The smallest value on the grid."""
        return (LOWEST - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """The largest value on the grid."""
        return (HIGHEST - self.zero_point) * self.scale

    def covers(self, low: float, high: float) -> bool:
        """Whether nothing from `low` to `high` is further than half a step outside."""
        half = self.scale / 2
        return self.low - half <= low and high <= self.high + half


def grid_of_range(low: float, high: float) -> TensorGrid:
    """scale = (high - low) / 255, zero_point = round(-128 - low / scale), with low ≤ 0 ≤ high.

    A range of one point, 0.0, has the scale 1.
    """
    width = high - low
    if not width > 0:
        return TensorGrid(1.0, LOWEST)
    scale = _float32(width / (HIGHEST - LOWEST))
    return TensorGrid(scale, int(np.clip(np.rint(LOWEST - low / scale), LOWEST, HIGHEST)))


def widest(grids: Iterable[TensorGrid]) -> TensorGrid | None:
    """The one of `grids` that covers all of them; ``None`` when there is no such one."""
    several = list(dict.fromkeys(grids))
    for grid in several:
        if all(grid.covers(other.low, other.high) for other in several):
            return grid
    return None


def constant_scale(value: float) -> float:
    """The scale on which `value` is 127 or -127; 1.0 for 0.0."""
    return _float32(abs(value) / HIGHEST) or 1.0
