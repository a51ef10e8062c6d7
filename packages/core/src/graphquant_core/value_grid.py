"""The grid of an int8 activation: x ≈ (q - zero_point) * scale, q from -128 to 127."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np

from graphquant_core.arguments import builtin_number
from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params

LOWEST, HIGHEST = INT8.minimum, INT8.maximum


def _float32(value: float) -> float:
    return float(np.float32(value))


@attrs.frozen
class ValueGrid:
    """x ≈ (q - zero_point) * scale, one scale and zero point for a whole tensor.

    >>> ValueGrid.over(0.0, 6.0)
    ValueGrid(scale=0.023529412224888802, zero_point=-128)

    Attributes:
        scale: A float32 value above zero.
        zero_point: Integer that stands for 0.0, -128 to 127.
    """

    scale: float = attrs.field(converter=_float32)
    zero_point: int = attrs.field(converter=builtin_number)

    @classmethod
    def over(cls, low: float, high: float) -> ValueGrid:
        """The grid over `low` to `high` and 0.0, as `affine_params` makes it.

        Raises: as `affine_params`.
        """
        params = affine_params(low, high, INT8)
        return cls(float(params.scale), int(params.offset))

    @property
    def low(self) -> float:
        """The smallest value on the grid."""
        return (LOWEST - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """The largest value on the grid."""
        return (HIGHEST - self.zero_point) * self.scale

    @property
    def ends(self) -> tuple[float, float]:
        """Its smallest and its largest value."""
        return self.low, self.high

    def covers(self, low: float, high: float, steps: float = 0.5) -> bool:
        """Whether nothing from `low` to `high` lies more than `steps` steps outside."""
        margin = steps * self.scale
        return self.low - margin <= low and high <= self.high + margin


def widest(grids: Iterable[ValueGrid]) -> ValueGrid | None:
    """The one of `grids` that covers all of them; ``None`` when there is no such one."""
    several = list(dict.fromkeys(grids))
    for grid in several:
        if all(grid.covers(*other.ends) for other in several):
            return grid
    return None
