"""How the groups that share a scale lie in a constant, in the terms of DequantizeLinear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_export.targets.onnx.constants import Found

Groups = npt.NDArray[np.int64]


@attrs.frozen(eq=False)
class GroupLayout:
    """Codes as they are stored, and which group each scale is of.

    Attributes:
        codes: The codes; a matrix with a group a row where no axis separates the groups.
        groups: Number of the group, in the shape of the scale.
        axis: Axis of the codes that the scales run along; ``None`` for one scale.
        block: Codes along that axis that share a scale; 0 when each of them has its own.
        reshaped: Shape that the matrix has to be given; ``None`` when `codes` has its own.
        transposed: Whether its two axes have to be exchanged after that.
    """

    codes: npt.NDArray[Any]
    groups: Groups
    axis: int | None = None
    block: int = 0
    reshaped: tuple[int, ...] | None = None
    transposed: bool = False

    def beside_codes(self) -> tuple[int, ...]:
        """Shape in which something of each group can be added to the codes' values."""
        if self.axis is None:
            return ()
        return tuple(-1 if axis == self.axis else 1 for axis in range(self.codes.ndim))


def group_layout(found: Found, *, blocks: bool) -> GroupLayout:
    """The layout of the groups of `found`: along an axis, else in blocks, else in rows.

    Args:
        found: The constant.
        blocks: Whether DequantizeLinear may have a block size.

    Raises:
        UnsupportedLayerError: The groups lie in none of these ways; names the layer.
    """
    codes, groups = found.codes, found.groups
    if len(found.constant.scale) == 1:
        return GroupLayout(codes, np.zeros([], np.int64))
    tried = [_along_axis(codes, groups), _in_rows(codes, groups, len(found.constant.scale))]
    if blocks:
        tried.insert(1, _in_blocks(codes, groups, len(found.constant.scale)))
    layout = next((layout for several in tried for layout in several), None)
    if layout is None:
        raise UnsupportedLayerError(
            f'layer "{found.constant.layer}": the scales of its {found.constant.role} lie along '
            f"no axis of the shape {list(groups.shape)} that it has in ONNX"
        )
    return layout


def _along_axis(codes: npt.NDArray[Any], groups: Groups) -> Iterator[GroupLayout]:
    for axis, size in enumerate(groups.shape):
        slices = np.moveaxis(groups, axis, 0).reshape(size, -1)
        if (slices == slices[:, :1]).all():
            yield GroupLayout(codes, slices[:, 0], axis)


def _in_blocks(codes: npt.NDArray[Any], groups: Groups, count: int) -> Iterator[GroupLayout]:
    # A convolution's blocks would repeat each scale for every position of the kernel.
    for axis, size in enumerate(groups.shape):
        line = np.moveaxis(groups, axis, 0).reshape(size, -1)[:, 0]
        block = size // (1 + int(np.count_nonzero(np.diff(line))))
        first = np.take(groups, range(0, size, block), axis)
        repeated = np.repeat(first, block, axis)
        same = repeated.shape == groups.shape and (repeated == groups).all()
        if block > 1 and first.size == count and same:
            yield GroupLayout(codes, first, axis, block)


def _in_rows(codes: npt.NDArray[Any], groups: Groups, count: int) -> Iterator[GroupLayout]:
    for transposed in (False, True) if groups.ndim == 2 else (False,):
        ordered = groups.T if transposed else groups
        if ordered.size % count:
            return
        rows = ordered.reshape(count, -1)
        if (rows == rows[:, :1]).all():
            stored = np.ascontiguousarray(codes.T if transposed else codes).reshape(rows.shape)
            yield GroupLayout(stored, rows[:, 0], 0, 0, ordered.shape, transposed)
