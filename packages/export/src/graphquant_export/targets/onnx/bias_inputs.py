"""A bias that is added behind a convolution becomes the convolution's own."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import numpy_helper


def merge_biases(model: onnx.ModelProto) -> None:
    """``Conv -> Add(bias)`` becomes ``Conv(…, bias)``, for every stored bias and one of `model`.

    tf2onnx does so itself, except for a depthwise convolution whose channels are second.
    Integer kernels take a bias as an input only.
    """
    graph = model.graph
    nodes = {node.name: node for node in graph.node}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    merged: list[onnx.NodeProto] = []
    for conv, add, bias in list(_pairs(graph, nodes)):
        codes = numpy_helper.to_array(stored[bias.input[0]])
        if len(codes.shape) < 3 or codes.shape[-3] != codes.size:
            continue
        stored[bias.input[0]].CopyFrom(numpy_helper.from_array(codes.reshape(-1), bias.input[0]))
        for attribute in bias.attribute:
            attribute.i = 0
        conv.input.append(bias.output[0])
        conv.output[0] = add.output[0]
        merged.append(add)
    for add in merged:
        graph.node.remove(add)


def _pairs(
    graph: onnx.GraphProto, nodes: dict[str, onnx.NodeProto]
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto]]:
    """(convolution without bias, the Add that alone takes it, DequantizeLinear of the bias)."""
    taken = [name for node in graph.node for name in node.input]
    taken += [value.name for value in graph.output]
    for add in graph.node:
        for name in add.input if add.op_type == "Add" else ():
            bias = nodes.get(name)
            if bias is None or not name.endswith("/bias/DequantizeLinear"):
                continue
            conv = nodes.get(name.removesuffix("/bias/DequantizeLinear"))
            if conv is None or conv.op_type != "Conv" or len(conv.input) != 2:
                continue
            if conv.output[0] in add.input and taken.count(conv.output[0]) == 1:
                yield conv, add, bias
