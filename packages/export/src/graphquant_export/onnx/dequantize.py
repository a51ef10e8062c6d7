"""A stored constant as ONNX has it: initialisers, DequantizeLinear, and Add where 0.0 is no code.

::

    <name>, <name>_scale, <name>_zero_point -> DequantizeLinear [-> Add <- <name>_offset]

The scale has the shape ``[]``; or ``[C]`` along the attribute ``axis``; or, from opset 21 on, the
shape of the codes with that axis divided by the attribute ``block_size``.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_export.onnx.constants import Found

INT4_OPSET = 21
"""The first opset with 4 bits and with blocks."""


@attrs.frozen
class _Grouping:
    """Which group each scale of a DequantizeLinear is of.

    Attributes:
        groups: Number of the group, in the shape of the scale.
        axis: Axis that the scales run along; ``None`` for one scale.
        block: Codes along that axis that share a scale; 0 for ``[C]`` scales.
    """

    groups: npt.NDArray[np.int64]
    axis: int | None = None
    block: int = 0


def dequantize(graph: onnx.GraphProto, found: Found, opset: int) -> list[onnx.NodeProto]:
    """The nodes that give the value of `found`, the last one last; adds initialisers to `graph`.

    Raises:
        UnsupportedLayerError: Its groups lie along no axis, or `opset` has no blocks.
    """
    constant = found.constant
    name = f"{constant.layer}/{constant.role}"
    grouping = _grouping(found, opset)
    zero_point = np.zeros(grouping.groups.shape, constant.codes.dtype)
    if constant.zero_point is not None:
        zero_point = constant.zero_point[grouping.groups]
    narrow = constant.bits == 4 and opset >= INT4_OPSET
    inputs = [name, f"{name}_scale", f"{name}_zero_point"]
    graph.initializer.extend(
        [
            _integers(inputs[0], found.codes, narrow),
            numpy_helper.from_array(constant.scale[grouping.groups], inputs[1]),
            _integers(inputs[2], np.asarray(zero_point), narrow),
        ]
    )
    result = f"{name}/DequantizeLinear"
    node = helper.make_node("DequantizeLinear", inputs, [result], name=result)
    if grouping.axis is not None:
        node.attribute.append(helper.make_attribute("axis", grouping.axis))
    if grouping.block:
        node.attribute.append(helper.make_attribute("block_size", grouping.block))
    if constant.offset is None:
        return [node]
    offset = constant.offset[_broadcast(grouping, found.codes.ndim, constant.layer)]
    graph.initializer.append(numpy_helper.from_array(offset, f"{name}_offset"))
    added = helper.make_node("Add", [result, f"{name}_offset"], [f"{name}/Add"], name=f"{name}/Add")
    return [node, added]


def _grouping(found: Found, opset: int) -> _Grouping:
    groups, constant = found.groups, found.constant
    if len(constant.scale) == 1:
        return _Grouping(np.zeros([], np.int64))
    for axis, size in enumerate(groups.shape):
        rows = np.moveaxis(groups, axis, 0).reshape(size, -1)
        if (rows == rows[:, :1]).all():
            return _Grouping(rows[:, 0], axis)
    for axis, size in enumerate(groups.shape if opset >= INT4_OPSET else ()):
        blocks = int(
            np.count_nonzero(np.diff(np.moveaxis(groups, axis, 0).reshape(size, -1)[:, 0]))
        )
        block = size // (blocks + 1)
        first = np.take(groups, range(0, size, block), axis)
        repeated = np.repeat(first, block, axis)
        if block > 1 and repeated.shape == groups.shape and (repeated == groups).all():
            return _Grouping(first, axis, block)
    raise UnsupportedLayerError(
        f'layer "{constant.layer}": the scales of its {constant.role} lie along no axis of the '
        f"shape {list(groups.shape)} that it has in ONNX, opset {opset}"
    )


def _broadcast(grouping: _Grouping, rank: int, layer: str) -> npt.NDArray[np.int64]:
    """The groups in a shape that can be added to the codes' values."""
    if grouping.block:
        raise UnsupportedLayerError(
            f'layer "{layer}": ONNX has no blocks whose minimum is not on their grid'
        )
    if grouping.axis is None:
        return grouping.groups
    shape = [1] * rank
    shape[grouping.axis] = -1
    return grouping.groups.reshape(shape)


def _integers(name: str, values: npt.NDArray[Any], narrow: bool) -> onnx.TensorProto:
    """`values` as an initialiser: INT4, two codes a byte, the first one in the low bits."""
    if not narrow:
        return numpy_helper.from_array(values, name)
    codes = values.reshape(-1).astype(np.uint8) & 0xF
    pairs = np.append(codes, np.zeros(codes.size % 2, np.uint8)).reshape(-1, 2)
    packed = (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8)
    return onnx.TensorProto(
        name=name, data_type=onnx.TensorProto.INT4, dims=values.shape, raw_data=packed.tobytes()
    )
