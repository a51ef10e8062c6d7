"""The grid of an activation in an MNN model."""

from __future__ import annotations

import attrs
import numpy as np

LOWEST, HIGHEST = -128, 127


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

    def scaled_up(self) -> ActivationGrid:
        """The grid whose scale is the next larger float32 number."""
        return attrs.evolve(self, scale=np.nextafter(np.float32(self.scale), np.float32(np.inf)))

    def ending_at(self, value: float) -> ActivationGrid:
        """The grid whose largest code is that of `value`: min(127, round(value / scale) + zero)."""
        steps = int(np.floor(value / self.scale + 0.5)) + self.zero
        return attrs.evolve(self, highest=min(HIGHEST, steps))
