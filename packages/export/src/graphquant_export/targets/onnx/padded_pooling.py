"""Zeros around what is max-pooled, which ONNX Runtime takes for padding of the pooling itself.

Its fusion of a Pad of zeros with a MaxPool takes the largest value of a window where the zeros are
larger. A number next to zero, which is the same on any grid, keeps the two apart.
"""

from __future__ import annotations

import numpy as np
import onnx

_NEXT_TO_ZERO = np.array(np.finfo(np.float32).tiny)
_MOVING = frozenset({"DequantizeLinear", "Identity", "QuantizeLinear", "Transpose"})


def keep_zeros_around_poolings(model: onnx.ModelProto) -> None:
    """Gives each Pad of zeros whose result a MaxPool takes, and may be negative, such a number."""
    graph = model.graph
    made = {output: node for node in graph.node for output in node.output}
    constants = {value.name: value for value in graph.initializer}
    pooled = {node.input[0] for node in graph.node if node.op_type == "MaxPool"}
    for node in graph.node:
        if node.op_type != "Pad" or node.output[0] not in pooled or _is_rectified(node, made):
            continue
        if any(
            attribute.name == "mode" and attribute.s != b"constant" for attribute in node.attribute
        ):
            continue
        value = node.input[2] if len(node.input) > 2 else ""
        if value in constants and np.any(onnx.numpy_helper.to_array(constants[value])):
            continue
        name = f"{node.name}/next_to_zero"
        graph.initializer.append(onnx.numpy_helper.from_array(_NEXT_TO_ZERO, name))
        node.input[2:3] = [name]


def _is_rectified(node: onnx.NodeProto, made: dict[str, onnx.NodeProto]) -> bool:
    found = made.get(node.input[0])
    while found is not None and found.op_type in _MOVING:
        found = made.get(found.input[0])
    return found is not None and found.op_type == "Relu"
