"""Scale and offset of a quantised tensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.channels import channel_count, check_axes, per_channel_shape
from graphquant_core.exceptions import RangeError
from graphquant_core.finite import check_finite
from graphquant_core.grid import Grid
from graphquant_core.listing import brief_repr

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]


def _frozen_scale(value: npt.ArrayLike) -> Float32Array:
    with np.errstate(over="ignore", under="ignore"):
        scale = np.array(value, dtype=np.float32)
    scale.setflags(write=False)
    return scale


def _frozen_offset(value: npt.ArrayLike) -> Int32Array:
    given = np.asarray(value)
    if not np.issubdtype(given.dtype, np.integer):
        raise RangeError(f"offset ({brief_repr(value)}) must hold integers, not {given.dtype}")
    offset = np.array(np.clip(given.astype(np.int64), -(2**31), 2**31 - 1), dtype=np.int32)
    offset.setflags(write=False)
    return offset


def _axes(value: Iterable[int]) -> tuple[int, ...]:
    return tuple(value)


_SAME_ARRAY = attrs.cmp_using(eq=np.array_equal)


@attrs.frozen
class QuantParams:
    """x ≈ (q - offset) * scale, with q in `grid`.

    Attributes:
        scale: float32, ``[]`` for one scale per tensor or ``[C]``; read-only.
        offset: int32, the shape of `scale`: the integer that stands for 0.0; read-only.
        grid: The integers q.
        axes: Tensor axes whose row-major product is the C channels; ``()`` when `scale` is ``[]``.

    Raises:
        RangeError: a scale is not above zero, an offset is outside the grid, an end of the grid
            is beyond float32, or the shapes and the axes don't fit together.
        NonFiniteError: a scale is NaN or infinite.
    """

    scale: Float32Array = attrs.field(converter=_frozen_scale, eq=_SAME_ARRAY, hash=False)
    offset: Int32Array = attrs.field(converter=_frozen_offset, eq=_SAME_ARRAY, hash=False)
    grid: Grid
    axes: tuple[int, ...] = attrs.field(default=(), converter=_axes)

    def __attrs_post_init__(self) -> None:
        """Checks what no field can check alone."""
        check_axes(self.axes)
        if self.scale.ndim != (1 if self.axes else 0):
            raise RangeError(
                f"scale (shape {list(self.scale.shape)}) must have shape "
                f"{'[C]' if self.axes else '[]'} for axes {self.axes}"
            )
        if self.offset.shape != self.scale.shape:
            raise RangeError(
                f"offset (shape {list(self.offset.shape)}) must have the shape of scale, "
                f"{list(self.scale.shape)}"
            )
        self._check_values()

    def _check_values(self) -> None:
        check_finite(self.scale, "scale")
        low, high = self.grid.minimum, self.grid.maximum
        if (self.scale <= 0).any():
            raise RangeError(f"scale ({self.scale.min()}) must be above 0")
        if ((self.offset < low) | (self.offset > high)).any():
            worst = self.offset.flat[int(np.argmax(np.abs(self.offset.astype(np.int64))))]
            raise RangeError(f"offset ({worst}) must be from {low} to {high}")
        reach = np.maximum(high - self.offset, self.offset - low) * self.scale.astype(np.float64)
        if (reach > np.finfo(np.float32).max).any():
            raise RangeError(f"scale ({self.scale.max()}) puts the grid's ends beyond float32")

    def broadcast(self, shape: Sequence[int]) -> tuple[Float32Array, Int32Array]:
        """Scale and offset, reshaped to broadcast against a tensor of `shape`.

        Raises:
            RangeError: the channels along the axes of `shape` are not as many as the scales.
        """
        count = channel_count(shape, self.axes)
        if count != self.scale.size:
            raise RangeError(
                f"shape ({list(shape)}) has {count} channels along axes {self.axes}, "
                f"but there are {self.scale.size} scales"
            )
        target = per_channel_shape(shape, self.axes)
        return self.scale.reshape(target), self.offset.reshape(target)
