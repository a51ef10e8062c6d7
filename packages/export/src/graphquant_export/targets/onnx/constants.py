"""Constants that the file holds as integers, and how they are followed through a conversion.

A converter transposes, reshapes and renames constants. So that no number is found again by its
value or its name, the graph that is converted holds a tag in the place of each number: a float32
whose bits count up. Wherever a tag comes out, it says which number of which constant stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.channels import per_channel_shape
from graphquant_core.exceptions import ModelFileError

FIRST_TAG = 0x5F000001
"""Bits of the first tag, 9.2e18: no constant of a model is of this size."""
MOST_TAGS = 0x7F800000 - FIRST_TAG
"""How many finite float32 follow."""


@attrs.frozen(eq=False)
class StoredConstant:
    """A float Const whose value is (codes - zero_point) * scale + offset, which the file holds.

    Attributes:
        layer: Name of the layer that it belongs to.
        role: ``"weight"`` or ``"bias"``.
        name: Name of the Const in the graph.
        codes: int8 or int32, in the shape of the Const.
        scale: float32 ``[G]``, the scale of each group.
        groups: Number of the group of each code, in the shape of the Const.
        bits: Bits of a code in the file: 4, 8 or 32.
        zero_point: ``[G]``, the type of `codes`; ``None`` for zeros.
        offset: float32 ``[G]``, where 0.0 is no code; ``None`` for zeros.
    """

    layer: str
    role: str
    name: str
    codes: npt.NDArray[Any]
    scale: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int64]
    bits: int = 8
    zero_point: npt.NDArray[Any] | None = None
    offset: npt.NDArray[np.float32] | None = None


@attrs.frozen(eq=False)
class Found:
    """A constant where a conversion put it.

    Attributes:
        constant: Which one it is.
        positions: Index into its flat codes of each number, in the new shape.
    """

    constant: StoredConstant
    positions: npt.NDArray[np.int64]

    @property
    def codes(self) -> npt.NDArray[Any]:
        """The codes in the new shape."""
        return self.constant.codes.reshape(-1)[self.positions]

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """The number of the group of each code, in the new shape."""
        return self.constant.groups.reshape(-1)[self.positions]


def groups_along(shape: Sequence[int], axes: Sequence[int], scales: int) -> npt.NDArray[np.int64]:
    """Group of each element of `shape`: its channel along `axes`, or 0 for one scale."""
    if scales == 1:
        return np.zeros(tuple(shape), np.int64)
    channels = np.arange(scales).reshape(per_channel_shape(shape, axes))
    return np.array(np.broadcast_to(channels, tuple(shape)), np.int64)


class Tags:
    """A tag for each number of `constants`.

    Raises:
        ModelFileError: There are more numbers than tags.
    """

    def __init__(self, constants: Sequence[StoredConstant]) -> None:
        self.constants = tuple(constants)
        self._starts = np.cumsum([0, *(constant.codes.size for constant in constants)])
        if self._starts[-1] > MOST_TAGS:
            raise ModelFileError(
                f"the model has {self._starts[-1]} quantised weights; ONNX files hold less than "
                f"{MOST_TAGS}"
            )

    def values(self) -> dict[str, npt.NDArray[np.float32]]:
        """What each constant is in the graph that is converted, by the name of its Const."""
        return {
            constant.name: np.arange(FIRST_TAG + start, FIRST_TAG + start + constant.codes.size)
            .astype(np.uint32)
            .view(np.float32)
            .reshape(constant.codes.shape)
            for constant, start in zip(self.constants, self._starts, strict=False)
        }

    def find(self, array: npt.NDArray[Any]) -> Found | None:
        """The constant whose tags `array` holds; ``None`` when it holds none."""
        if array.dtype != np.float32 or not array.size:
            return None
        numbers = np.ascontiguousarray(array).view(np.uint32).astype(np.int64) - FIRST_TAG
        if numbers.min() < 0 or numbers.max() >= self._starts[-1]:
            return None
        index = int(np.searchsorted(self._starts, numbers.flat[0], side="right")) - 1
        positions = numbers - self._starts[index]
        constant = self.constants[index]
        if positions.min() < 0 or positions.max() >= constant.codes.size:
            return None
        return Found(constant, positions)
