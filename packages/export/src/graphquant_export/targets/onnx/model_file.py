"""What an ONNX file says of each layer: which integers go into it, and how wide they are."""

from __future__ import annotations

import os
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError

from graphquant_core.exceptions import ModelFileError
from graphquant_core.files import read_bytes

MOVES = frozenset(
    {
        "Flatten",
        "Identity",
        "MaxPool",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Ops that move codes and leave them as they are."""
BITS = {
    onnx.TensorProto.INT8: 8,
    onnx.TensorProto.UINT8: 8,
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.UINT4: 4,
}


def read_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """The model in the file at `path`.

    Raises:
        ModelFileError: The file is missing, or is no ONNX model; names it.
    """
    content = read_bytes(path, "artifact")
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise ModelFileError(f"artifact ({path}) is not an ONNX model: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise ModelFileError(f"artifact ({path}) is not an ONNX model with nodes")
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Opset of the ops of ONNX itself in `model`; 0 when it names none."""
    return next((entry.version for entry in model.opset_import if not entry.domain), 0)


class ModelView:
    """Who makes and who takes each tensor of `model`.

    Attributes:
        nodes: The nodes by name.
        stored: The initialisers by name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = {node.name: node for node in graph.node}
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._takers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._takers.setdefault(name, []).append(node)

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that `tensor` comes from; ``None`` for an input or an initialiser."""
        return self._makers.get(tensor)

    def takers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that take `tensor`."""
        return self._takers.get(tensor, [])

    def weight_bits(self, node: onnx.NodeProto) -> int | None:
        """Bits of the weight of `node`: of the stored integers behind a DequantizeLinear."""
        for maker in self._dequantizers(node):
            tensor = self.stored.get(maker.input[0])
            if tensor is not None and tensor.data_type in BITS:
                return BITS[tensor.data_type]
        return None

    def activation_bits(self, node: onnx.NodeProto) -> int | None:
        """Bits of what goes into `node` through QuantizeLinear and DequantizeLinear."""
        for maker in self._dequantizers(node):
            quantizer = self._behind_moves(maker.input[0])
            if quantizer is not None and quantizer.op_type == "QuantizeLinear":
                return self._quantizer_bits(quantizer)
        return None

    def step(self, tensor: str) -> float | None:
        """Scale of the one grid that `tensor` lies on; ``None`` when it is float."""
        maker = self._behind_moves(tensor)
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        scale = self.stored.get(maker.input[1])
        if scale is None:
            return None
        values = onnx.numpy_helper.to_array(scale).reshape(-1)
        return float(values[0]) if len(values) == 1 else None

    def _dequantizers(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        for name in node.input:
            maker = self._behind_moves(name)
            if maker is not None and maker.op_type == "Add" and maker.input[1] in self.stored:
                # The offset of a grid on which 0.0 is no code.
                maker = self._behind_moves(maker.input[0])
            if maker is not None and maker.op_type == "DequantizeLinear":
                yield maker

    def _quantizer_bits(self, node: onnx.NodeProto) -> int | None:
        zero_point = self.stored.get(node.input[2]) if len(node.input) > 2 else None
        return 8 if zero_point is None else BITS.get(zero_point.data_type)

    def _behind_moves(self, tensor: str) -> onnx.NodeProto | None:
        """The node that `tensor` comes from, without those that only move its values."""
        maker = self.maker(tensor)
        for _ in range(len(self.nodes)):
            if maker is None or maker.op_type not in MOVES or not maker.input:
                break
            maker = self.maker(maker.input[0])
        return maker
