"""What MNN's converter makes of a weight, in NumPy: bit for bit its codes and its scales."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.finite import check_finite

SMALLEST_SCALE = np.float32(1e-6)
"""A group whose scale is not above this gets one code only."""

OFF_GRID = np.float32(1e-3)
"""How far from its value, in steps, a weight may lie that is on its grid."""


@attrs.frozen(eq=False)
class MnnWeight:
    """Codes and scales of a weight as MNN stores them; one group a row.

    Attributes:
        codes: int8 ``[G, n]``: within ±(2^(b-1)-1) when symmetric, else -2^(b-1) … 2^(b-1)-1.
        scale: float32 ``[G]``.
        minimum: float32 ``[G]``, the value of the lowest code; ``None`` when symmetric.
        bits: 2 to 8.
    """

    codes: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    minimum: npt.NDArray[np.float32] | None
    bits: int

    @property
    def asymmetric(self) -> bool:
        """Whether each group has a minimum of its own."""
        return self.minimum is not None

    def values(self) -> npt.NDArray[np.float32]:
        """code * scale, or minimum + (code + 2^(b-1)) * scale; float32 ``[G, n]``."""
        if self.minimum is None:
            return self.codes * self.scale[:, None]
        steps = self.codes.astype(np.float32) + np.float32(1 << (self.bits - 1))
        return np.asarray(self.minimum[:, None] + steps * self.scale[:, None], np.float32)

    def off_grid(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Which of `rows`, that these are the codes of, lie on no grid; ``[G, n]``.

        Those further than a thousandth of a step from their value, and 1e-6, which float32 takes
        from a minimum or a factor. A group with one code only holds no other value either.
        """
        limit = OFF_GRID * self.scale[:, None] + np.float32(1e-6)
        return np.asarray(np.abs(self.values() - rows) > limit)


def mnn_quantize(rows: npt.ArrayLike, bits: int, asymmetric: bool) -> MnnWeight:
    """The codes and scales of float32 `rows`, ``[G, n]``, one group a row.

    Symmetric: s = max|w| / (2^(b-1)-1), code = round(w / s). Asymmetric: s = (max - min) /
    (2^b - 1), code = round((w - min) / s) - 2^(b-1). Ties go away from zero. A group with
    s <= 1e-6 has the code 0, or the lowest one.

    Raises:
        NonFiniteError: `rows` holds NaN or infinity.

    Source: WeightQuantAndCoding.cpp and IDSTEncoder.hpp of MNN 3.6.1; equal to the converter in
        every bit.
    """
    values = np.asarray(rows, np.float32)
    check_finite(values, "rows")
    half = 1 << (bits - 1)
    if not asymmetric:
        scale = np.abs(values).max(axis=1) / np.float32(half - 1)
        codes = _codes(values, scale, -half, half - 1)
        return MnnWeight(codes, scale, None, bits)
    minimum = values.min(axis=1)
    scale = (values.max(axis=1) - minimum) / np.float32(2 * half - 1)
    steps = _codes(values - minimum[:, None], scale, 0, 2 * half - 1, np.int16)
    return MnnWeight((steps - half).astype(np.int8), scale, minimum, bits)


def _codes(
    values: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    low: int,
    high: int,
    dtype: npt.DTypeLike = np.int8,
) -> npt.NDArray[np.int8]:
    dead = scale <= SMALLEST_SCALE
    steps = values / np.where(dead, np.float32(1), scale)[:, None]
    # Half away from zero, without the rounding error of adding 0.5 in float32.
    whole = np.trunc(steps)
    rounded = whole + np.sign(steps) * (np.abs(steps - whole) >= np.float32(0.5))
    return np.where(dead[:, None], 0, np.clip(rounded, low, high)).astype(dtype)
