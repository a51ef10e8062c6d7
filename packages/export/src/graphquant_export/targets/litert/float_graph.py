"""What the converter made: its operators without the marks, and the TensorFlow name of each value.

An edge says which tensor an operator takes and through which fake quantisers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import ModelFileError
from graphquant_export.targets.litert.conversion_graph import ConversionGraph
from graphquant_export.targets.litert.marks import number_of
from graphquant_export.targets.litert.names import CHANNELS_LAST
from graphquant_export.targets.litert.schema import operator_name, read_model, schema

FLOAT32 = schema.TensorType.FLOAT32
NO_TENSOR = -1
Array = npt.NDArray[Any]


@attrs.frozen
class Edge:
    """Tensor `tensor` through the fake quantisers `quantizers`, in their order."""

    tensor: int
    quantizers: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class Op:
    """An operator.

    Attributes:
        kind: ``"CONV_2D"`` and so on.
        operator: Its table.
        inputs: What it takes; tensor -1 where an optional input is left out.
        outputs: Tensors that it returns.
        nodes: Nodes of the model that it computes, the last one first.
    """

    kind: str
    operator: Any = attrs.field(repr=False)
    inputs: tuple[Edge, ...]
    outputs: tuple[int, ...]
    nodes: tuple[str, ...]


@attrs.frozen(eq=False)
class FloatGraph:
    """The float model.

    Attributes:
        model: Its tables.
        ops: Its operators in the order in which they run.
        inputs: Tensors of its inputs.
        outputs: Its outputs.
        names: Name in the model of the value of a tensor (``"op"`` or ``"op:1"``), and
            ``"op:channels_last"`` of what is transposed into the value of an op in NCHW. Another
            tensor inside of what TensorFlow computes in one op has none.
    """

    model: Any = attrs.field(repr=False)
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[Edge, ...]
    names: Mapping[int, str]

    def tensor(self, index: int) -> Any:
        """The table of the tensor `index`."""
        return self.model.subgraphs[0].tensors[index]

    def constant(self, index: int) -> Array | None:
        """The value of the float32 tensor `index`; ``None`` when it isn't such a constant."""
        if index == NO_TENSOR or self.tensor(index).type != FLOAT32:
            return None
        data = self.model.buffers[self.tensor(index).buffer].data
        if data is None or not len(data):
            return None
        shape = self.tensor(index).shape
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), "<f4")
        return values.reshape([] if shape is None else [int(size) for size in shape])

    def is_activation(self, edge: Edge) -> bool:
        """Whether `edge` is a float value that depends on the inputs."""
        return (
            edge.tensor != NO_TENSOR
            and self.tensor(edge.tensor).type == FLOAT32
            and self.constant(edge.tensor) is None
        )


def read_float_graph(content: bytes, prepared: ConversionGraph) -> FloatGraph:
    """The graph in `content`, a .tflite file, which the converter made of `prepared`.

    Raises:
        ModelFileError: It holds more than one graph.
    """
    model = read_model(content)
    if len(model.subgraphs) > 1:
        raise ModelFileError(
            "the model has control flow, which an export to LiteRT can't quantise: freeze what is "
            "deployed"
        )
    reader = _Reader(model, prepared)
    for operator in model.subgraphs[0].operators:
        reader.read(operator)
    subgraph = model.subgraphs[0]
    inputs = tuple(int(index) for index in subgraph.inputs)
    names = {index: prepared.nodes(subgraph.tensors[index].name.decode())[0] for index in inputs}
    outputs = tuple(reader.edge(index) for index in subgraph.outputs)
    return FloatGraph(model, tuple(reader.ops), inputs, outputs, {**_names(reader.ops), **names})


class _Reader:
    def __init__(self, model: Any, prepared: ConversionGraph) -> None:
        self._model = model
        self._tensors = model.subgraphs[0].tensors
        self._prepared = prepared
        self._edges: dict[int, Edge] = {}
        self._codes: dict[int, Edge] = {}
        self.ops: list[Op] = []

    def edge(self, index: int) -> Edge:
        """What the tensor `index` stands for, once marks are left out."""
        known = self._edges.get(int(index)) or self._codes.get(int(index))
        return known or Edge(int(index))

    def read(self, operator: Any) -> None:
        """Adds `operator`, unless it belongs to a fake quantiser."""
        kind = operator_name(self._model, operator)
        taken = tuple(self.edge(index) for index in operator.inputs)
        outputs = tuple(int(index) for index in operator.outputs)
        number = number_of(self._tensors[outputs[0]].quantization)
        if kind == "QUANTIZE" and number is not None and number in self._prepared.marks:
            name = self._prepared.marks[number]
            path = taken[0].quantizers if name is None else (*taken[0].quantizers, name)
            self._codes[outputs[0]] = Edge(taken[0].tensor, path)
            return
        coded = any(int(index) in self._codes for index in operator.inputs)
        if kind == "DEQUANTIZE" and coded:
            self._edges[outputs[0]] = taken[0]
            return
        for output in outputs if coded else ():
            # The converter moved this operator in between the two of a fake quantiser.
            self._tensors[output].type, self._tensors[output].quantization = FLOAT32, None
            self._codes[output] = Edge(output)
        nodes = self._prepared.nodes(self._tensors[outputs[0]].name.decode())
        self.ops.append(Op(kind, operator, taken, outputs, tuple(nodes)))


def _names(ops: list[Op]) -> dict[int, str]:
    owner: dict[str, int] = {}
    names: dict[int, str] = {}
    for op in ops:
        for port, tensor in enumerate(op.outputs):
            if op.nodes:
                name = op.nodes[0] if port == 0 else f"{op.nodes[0]}:{port}"
                # Of several ops that compute one node, the last has its value.
                names.pop(owner.get(name, NO_TENSOR), None)
                owner[name], names[tensor] = tensor, name
    return {**_channels_last(ops, names), **names}


def _channels_last(ops: list[Op], names: Mapping[int, str]) -> dict[int, str]:
    """Names of the values that are transposed within the node that they belong to."""
    nodes = {tensor: op.nodes[:1] for op in ops for tensor in op.outputs}
    return {
        op.inputs[0].tensor: names[op.outputs[0]] + CHANNELS_LAST
        for op in ops
        if op.kind == "TRANSPOSE"
        and op.outputs[0] in names
        and op.nodes[:1] == nodes.get(op.inputs[0].tensor)
    }
