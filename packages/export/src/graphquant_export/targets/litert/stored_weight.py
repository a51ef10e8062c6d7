"""A weight as the file holds it: int8 or int4 codes, scales, zero points."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.int4 import pack_int4
from graphquant_export.targets.litert.schema import schema
from graphquant_export.targets.litert.writer import quantization

INT4_BITS = 4


@attrs.frozen(eq=False)
class StoredWeight:
    """w ≈ (q - zero_point) * scale + offset along one axis of the codes.

    Attributes:
        layer: Name of its layer.
        codes: int8, in the order in which the operator takes the weight, unless `groups` is given.
        scale: float32 ``[1]`` or ``[C]``.
        axis: Axis of the channels.
        bits: 4 for codes that are stored in pairs, else 8.
        zero_point: int64, the shape of `scale`; zeros unless the grid is asymmetric.
        offset: float32 ``[C]``, what is added to the dequantised weight; ``None`` for nothing.
        groups: Shape that codes ``[C, n]``, one group a row, are brought to, and the order of its
            axes that the operator takes.
        bias: int32 codes of the bias, ``[C]``; ``None`` when it stays float.
        bias_scale: float32 ``[1]`` or ``[C]``.
    """

    layer: str
    codes: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    axis: int
    bits: int = 8
    zero_point: npt.NDArray[np.int64] = attrs.field()
    offset: npt.NDArray[np.float32] | None = None
    groups: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    bias: npt.NDArray[np.int32] | None = None
    bias_scale: npt.NDArray[np.float32] = attrs.field()

    @zero_point.default
    def _zeros(self) -> npt.NDArray[np.int64]:
        return np.zeros(len(self.scale), np.int64)

    @bias_scale.default
    def _no_scale(self) -> npt.NDArray[np.float32]:
        return np.ones(1, np.float32)

    @property
    def dtype(self) -> int:
        """Its tensor type."""
        narrow = self.bits <= INT4_BITS
        return int(schema.TensorType.INT4 if narrow else schema.TensorType.INT8)

    @property
    def dequantize_version(self) -> int:
        """Version of DEQUANTIZE that takes it."""
        if self.bits <= INT4_BITS:
            return 6
        return 5 if len(self.scale) > 1 else 2

    def quantization(self) -> Any:
        """Its ``QuantizationParametersT``."""
        return quantization(self.scale, self.zero_point, self.axis)

    def data(self) -> bytes:
        """The bytes of the codes."""
        return self.codes.tobytes() if self.bits > INT4_BITS else pack_int4(self.codes)
