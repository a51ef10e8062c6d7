"""The grid of an activation in an MNN model."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np

from graphquant_core.grid import Grid
from graphquant_core.quantize import affine_params

LOWEST, HIGHEST = -128, 127
_INT8 = Grid(8, narrow=False)


def _float32(value: float) -> float:
    return float(np.float32(value))


@attrs.frozen
class ActivationGrid:
    """x ≈ (q - zero) * scale, q from -128 to `highest`.

    Attributes:
        scale: A float32 value.
        zero: Integer that stands for 0.0.
        highest: Largest code; below 127 where the tensor ends earlier, as behind a Relu6.
    """

    scale: float = attrs.field(converter=_float32)
    zero: int
    highest: int = HIGHEST

    @classmethod
    def over(cls, ranges: Iterable[tuple[float, float]]) -> ActivationGrid:
        """The grid that holds all of `ranges`, (smallest, largest) value, and 0.0."""
        ends = np.array(list(ranges), np.float32)
        params = affine_params(ends[:, 0].min(), ends[:, 1].max(), _INT8)
        return cls(float(params.scale), int(params.offset))

    @property
    def ends(self) -> tuple[float, float]:
        """Its smallest and its largest value."""
        return (LOWEST - self.zero) * self.scale, (HIGHEST - self.zero) * self.scale

    def covers(self, low: float, high: float) -> bool:
        """Whether no value from `low` to `high` is more than two steps beyond its ends."""
        smallest, largest = self.ends
        return smallest - 2 * self.scale <= low and high <= largest + 2 * self.scale

    def scaled_up(self) -> ActivationGrid:
        """The grid whose scale is the next larger float32 number."""
        return attrs.evolve(self, scale=np.nextafter(np.float32(self.scale), np.float32(np.inf)))

    def ending_at(self, value: float) -> ActivationGrid:
        """The grid whose largest code is that of `value`: min(127, round(value / scale) + zero)."""
        steps = int(np.floor(value / self.scale + 0.5)) + self.zero
        return attrs.evolve(self, highest=min(HIGHEST, steps))
