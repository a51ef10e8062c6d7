"""A stored constant as ONNX has it: initialisers, DequantizeLinear, and Add where 0.0 is no code.

::

    <name>, <name>_scale, <name>_zero_point -> DequantizeLinear [-> Add <- <name>_offset]

The scale has the shape ``[]``; or ``[C]`` along the attribute ``axis``; or, from opset 21 on, the
shape of the codes with that axis divided by the attribute ``block_size``. Groups that no axis
separates are the rows of a matrix, which is reshaped behind these nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from graphquant_core.int4 import pack_int4
from graphquant_export.targets.onnx.constants import Found
from graphquant_export.targets.onnx.group_layout import GroupLayout, group_layout

INT4_OPSET = 21
"""The first opset with 4 bits and with blocks."""


def dequantize(graph: onnx.GraphProto, found: Found, opset: int) -> list[onnx.NodeProto]:
    """The nodes that give the value of `found`, the last one last; adds initialisers to `graph`.

    Raises:
        UnsupportedLayerError: Its groups are neither along an axis nor stretches of it.
    """
    constant = found.constant
    name = f"{constant.layer}/{constant.role}"
    blocks = opset >= INT4_OPSET and constant.offset is None
    layout = group_layout(found, blocks=blocks)
    zero_point = np.zeros(layout.groups.shape, constant.codes.dtype)
    if constant.zero_point is not None:
        zero_point = constant.zero_point[layout.groups]
    narrow = constant.bits == 4 and opset >= INT4_OPSET
    inputs = [name, f"{name}_scale", f"{name}_zero_point"]
    graph.initializer.extend(
        [
            _integers(inputs[0], layout.codes, narrow),
            numpy_helper.from_array(constant.scale[layout.groups], inputs[1]),
            _integers(inputs[2], np.asarray(zero_point), narrow),
        ]
    )
    nodes = [_node("DequantizeLinear", name, inputs)]
    if layout.axis is not None:
        nodes[0].attribute.append(helper.make_attribute("axis", layout.axis))
    if layout.block:
        nodes[0].attribute.append(helper.make_attribute("block_size", layout.block))
    if constant.offset is not None:
        offset = constant.offset[layout.groups].reshape(layout.beside_codes())
        graph.initializer.append(numpy_helper.from_array(offset, f"{name}_offset"))
        nodes.append(_node("Add", name, [nodes[-1].output[0], f"{name}_offset"]))
    return nodes + _reshaped(graph, name, layout, nodes[-1].output[0])


def _reshaped(
    graph: onnx.GraphProto, name: str, layout: GroupLayout, tensor: str
) -> list[onnx.NodeProto]:
    """The nodes that bring the rows of a matrix into the shape of the constant."""
    if layout.reshaped is None:
        return []
    shape = np.array(layout.reshaped, np.int64)
    graph.initializer.append(numpy_helper.from_array(shape, f"{name}_shape"))
    nodes = [_node("Reshape", name, [tensor, f"{name}_shape"])]
    if layout.transposed:
        nodes.append(_node("Transpose", name, [nodes[0].output[0]]))
        nodes[1].attribute.append(helper.make_attribute("perm", [1, 0]))
    return nodes


def _node(op_type: str, name: str, inputs: list[str]) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [f"{name}/{op_type}"], name=f"{name}/{op_type}")


def _integers(name: str, values: npt.NDArray[Any], narrow: bool) -> onnx.TensorProto:
    """`values` as an initialiser: INT4, two codes a byte, the first one in the low bits."""
    if not narrow:
        return numpy_helper.from_array(values, name)
    return onnx.TensorProto(
        name=name, data_type=onnx.TensorProto.INT4, dims=values.shape, raw_data=pack_int4(values)
    )
