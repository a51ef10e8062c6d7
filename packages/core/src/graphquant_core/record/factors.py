"""What a record holds: the scales and offsets of each layer, as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.arguments import builtin_number
from graphquant_core.value_grid import ValueGrid

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]


def _float32(value: float) -> float:
    return float(np.float32(value))


def _float32_vector(value: npt.ArrayLike | None) -> Float32Array | None:
    if value is None:
        return None
    vector = np.array(value, dtype=np.float32).reshape(-1)
    vector.setflags(write=False)
    return vector


def _int32_vector(value: npt.ArrayLike | None) -> Int32Array | None:
    if value is None:
        return None
    vector = np.array(value, dtype=np.int32).reshape(-1)
    vector.setflags(write=False)
    return vector


def _zeros_like_scale_w(factors: LayerFactors) -> Int32Array | None:
    return None if factors.scale_w is None else np.zeros(factors.scale_w.shape, np.int32)


def _copied(factors: Mapping[str, LayerFactors]) -> dict[str, LayerFactors]:
    return dict(factors)


def _copied_grids(grids: Mapping[str, ValueGrid]) -> dict[str, ValueGrid]:
    return dict(grids)


_ARRAY = attrs.cmp_using(eq=np.array_equal)


@attrs.frozen
class LayerFactors:
    """x ≈ (q - offset_d) * scale_d and w ≈ q * scale_w, for one layer.

    Attributes:
        scale_d: Scale of the activation, a float32 value.
        offset_d: Integer that stands for 0.0 in the activation, -128 to 127.
        scale_w: float32 ``[1]`` or ``[C]``: scale of the weight that batch norm is folded into,
            hence with its factor |gamma| / sqrt(variance + epsilon); ``None`` without weight.
        offset_w: int32, the shape of `scale_w`; zeros.
        dst_type: Integer type, ``None`` when the record doesn't say, which means ``"INT8"``.
        skip_fusion: Whether batch norm stays out of the weight; ``None``, which means no, when
            the record doesn't say.
        balance: float32, one for each channel of what the layer takes: it is divided by it before
            it is rounded, and the weight multiplied. ``None`` for ones; AMCT's
            tensor_balance_factor.
        bias_correction: float32, what is added to the bias of each output channel before it is
            rounded; ``None`` for nothing.
        other: The fields that have no attribute here, on the wire; they outlive a round trip.
    """

    scale_d: float = attrs.field(converter=_float32)
    offset_d: int = attrs.field(converter=builtin_number)
    scale_w: Float32Array | None = attrs.field(
        default=None, converter=_float32_vector, eq=_ARRAY, hash=False
    )
    offset_w: Int32Array | None = attrs.field(
        default=attrs.Factory(_zeros_like_scale_w, takes_self=True),
        converter=_int32_vector,
        eq=_ARRAY,
        hash=False,
    )
    dst_type: str | None = None
    skip_fusion: bool | None = None
    balance: Float32Array | None = attrs.field(
        default=None, converter=_float32_vector, eq=_ARRAY, hash=False
    )
    bias_correction: Float32Array | None = attrs.field(
        default=None, converter=_float32_vector, eq=_ARRAY, hash=False
    )
    other: bytes = attrs.field(default=b"", repr=False)

    @property
    def activation_grid(self) -> ValueGrid:
        """The grid of the activation."""
        return ValueGrid(self.scale_d, self.offset_d)


@attrs.frozen
class Record(Mapping[str, LayerFactors]):
    """The factors of each layer, by the name of its op, in the order of the file.

    Attributes:
        factors: Factors by layer name.
        value_grids: Grids of values that a target rounds where they arise, by name: ``"add:0"`` is
            what the op ``"add"`` returns, ``"conv1/Conv2D:0"`` what the layer ``"conv1/Conv2D"``
            does, batch norm and bias included.
        other: The rest of the file (the records of pruning), on the wire.
    """

    factors: Mapping[str, LayerFactors] = attrs.field(converter=_copied)
    other: bytes = attrs.field(default=b"", repr=False)
    value_grids: Mapping[str, ValueGrid] = attrs.field(factory=dict, converter=_copied_grids)

    def __getitem__(self, layer: str) -> LayerFactors:
        return self.factors[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.factors)

    def __len__(self) -> int:
        return len(self.factors)
