"""Writes the model of a plan: int8 where it says so, QUANTIZE and DEQUANTIZE between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from graphquant_core.value_grid import ValueGrid
from graphquant_export.targets.litert import names
from graphquant_export.targets.litert.constant_scale import constant_scale
from graphquant_export.targets.litert.dequantized_weight import add_dequantized
from graphquant_export.targets.litert.float_graph import NO_TENSOR, Edge, FloatGraph, Op
from graphquant_export.targets.litert.grids import Grids
from graphquant_export.targets.litert.integer_plan import IntegerPlan
from graphquant_export.targets.litert.kinds import INT8_VERSIONS, SHAPE_ONLY, WEIGHT_PORTS
from graphquant_export.targets.litert.schema import schema
from graphquant_export.targets.litert.stored_weight import StoredWeight
from graphquant_export.targets.litert.writer import ModelWriter, quantization

INT8 = schema.TensorType.INT8
INT32 = schema.TensorType.INT32
FLOAT32 = schema.TensorType.FLOAT32
OPERATOR = schema.BuiltinOperator


def emit(
    graph: FloatGraph,
    grids: Grids,
    plan: IntegerPlan,
    weights: Mapping[int, StoredWeight],
    layer_names: Mapping[int, str],
    outputs: Sequence[str],
    integer_io: bool,
) -> Any:
    """The ``ModelT`` of `graph` as `plan` says.

    Args:
        graph: The float model.
        grids: Grids of its fake quantisers.
        plan: What runs in int8.
        weights: Weights that are stored as integers, by the index of their operator.
        layer_names: Name of the layer that an operator with a weight computes, by its index.
        outputs: Names of the outputs, in the order of those of `graph`.
        integer_io: Whether the model is for hardware that has integers alone: an output is int8
            where the model computes it so, and so is what goes from one grid to another.
    """
    emitter = _Emitter(graph, grids, plan, weights, layer_names, integer_io)
    wanted = [emitter.output_form(edge, integer_io) for edge in graph.outputs]
    for name, edge, form in zip(outputs, graph.outputs, wanted, strict=True):
        emitter.name_output(name, edge, form)
    inputs = {graph.names[tensor]: emitter.add_input(tensor) for tensor in graph.inputs}
    for index, op in enumerate(graph.ops):
        emitter.add(index, op)
    results = {
        name: emitter.value(edge, form)
        for name, edge, form in zip(outputs, graph.outputs, wanted, strict=True)
    }
    return emitter.writer.finish(inputs, results)


@attrs.frozen
class _Version:
    tensor: int
    path: tuple[ValueGrid, ...]
    is_float: bool


class _Emitter:
    def __init__(
        self,
        graph: FloatGraph,
        grids: Grids,
        plan: IntegerPlan,
        weights: Mapping[int, StoredWeight],
        layer_names: Mapping[int, str],
        integers_alone: bool,
    ) -> None:
        self._layer_names = layer_names
        self._integers_alone = integers_alone
        self._graph = graph
        self._grids = grids
        self._plan = plan
        self._weights = weights
        self._done: dict[_Version, int] = {}
        self._constants: dict[int, int] = {}
        self._output_names: dict[_Version, str] = {}
        self.writer = ModelWriter(graph.model)

    def output_form(self, edge: Edge, integer: bool) -> ValueGrid | None:
        """The grid that the output `edge` has; ``None`` when it is float."""
        path = self._path(edge)
        return path[-1] if integer and path else None

    def name_output(self, name: str, edge: Edge, grid: ValueGrid | None) -> None:
        """Calls the tensor of the output `edge` `name`, unless it is called so already."""
        self._output_names.setdefault(self._version(edge, grid), name)

    def add_input(self, tensor: int) -> int:
        """Adds an input of the model."""
        self._add_value(tensor, self._graph.names[tensor])
        return self._done[self._base(tensor)]

    def add(self, index: int, op: Op) -> None:
        """Adds `op` with everything that it takes."""
        inputs = [self._input(index, op, port) for port in range(len(op.inputs))]
        for port, tensor in enumerate(op.outputs):
            fallback = op.nodes[0] if op.nodes else op.kind.lower()
            self._add_value(tensor, self._graph.names.get(tensor, f"{fallback}:part{port}"))
        version = INT8_VERSIONS.get(op.kind, 1) if self._plan.values.keys() & op.outputs else 1
        outputs = [self._done[self._base(tensor)] for tensor in op.outputs]
        self.writer.copied_operator(op.operator, version, inputs, outputs)

    def value(self, edge: Edge, grid: ValueGrid | None) -> int:
        """The value of `edge` on `grid`, or in float; added when it isn't there yet."""
        return self._realized(self._version(edge, grid))

    def _input(self, index: int, op: Op, port: int) -> int:
        edge = op.inputs[port]
        if edge.tensor == NO_TENSOR:
            return NO_TENSOR
        stored = self._weights.get(index)
        integer = op.outputs[0] in self._plan.values
        if stored is not None and port == WEIGHT_PORTS[op.kind].weight:
            return self._weight(stored, edge.tensor, integer)
        if stored is not None and port == WEIGHT_PORTS[op.kind].bias and integer:
            return self._bias(stored, edge.tensor)
        base = self._base(edge.tensor)
        if not self._graph.is_activation(edge) and base not in self._done:
            return self._constant(index, op, port, integer)
        if op.kind in SHAPE_ONLY or not self._graph.is_activation(edge):
            return self._done[base]
        return self.value(edge, self._plan.inputs.get((index, port)))

    def _weight(self, stored: StoredWeight, tensor: int, integer: bool) -> int:
        like = self._graph.tensor(tensor)
        if not integer:
            return add_dequantized(self.writer, stored, like)
        return self.writer.tensor(
            names.weight_name(stored.layer),
            like,
            dtype=stored.dtype,
            quantization=stored.quantization(),
            data=stored.data(),
        )

    def _bias(self, stored: StoredWeight, tensor: int) -> int:
        assert stored.bias is not None
        return self.writer.tensor(
            names.bias_name(stored.layer),
            self._graph.tensor(tensor),
            dtype=INT32,
            quantization=quantization(stored.bias_scale, np.zeros(len(stored.bias_scale))),
            data=stored.bias.astype("<i4").tobytes(),
        )

    def _constant(self, index: int, op: Op, port: int, integer: bool) -> int:
        tensor = op.inputs[port].tensor
        value = self._graph.constant(tensor)
        if value is not None and integer and op.kind not in WEIGHT_PORTS:
            return self._integer_constant(op, tensor, float(value.reshape(-1)[0]))
        owner = op.nodes[0] if op.nodes else op.kind.lower()
        ports = WEIGHT_PORTS.get(op.kind)
        if ports is not None and port == ports.weight and value is not None:
            # By the name of its weight, a layer is found in the file.
            name = names.weight_name(self._layer_names.get(index, owner))
            return self.writer.copied_tensor(name, tensor)
        if tensor not in self._constants:
            self._constants[tensor] = self.writer.copied_tensor(f"{owner}:input{port}", tensor)
        return self._constants[tensor]

    def _integer_constant(self, op: Op, tensor: int, value: float) -> int:
        """The number `value`, exactly: 127 or -127 steps of its own size."""
        return self.writer.tensor(
            f"{op.nodes[0] if op.nodes else op.kind.lower()}:factor",
            self._graph.tensor(tensor),
            dtype=INT8,
            quantization=quantization(constant_scale(value), 0),
            data=np.int8(127 * np.sign(value)).tobytes(),
        )

    def _path(self, edge: Edge) -> tuple[ValueGrid, ...]:
        own = self._plan.values.get(edge.tensor)
        grids = [self._grids.quantizers[name] for name in edge.quantizers]
        return _without_repetition([own, *grids] if own else grids)

    def _version(self, edge: Edge, grid: ValueGrid | None) -> _Version:
        path = self._path(edge)
        if grid is None:
            return _Version(edge.tensor, path, True)
        return _Version(edge.tensor, _without_repetition([*path, grid]), False)

    def _base(self, tensor: int) -> _Version:
        own = self._plan.values.get(tensor)
        return _Version(tensor, (own,) if own else (), own is None)

    def _add_value(self, tensor: int, name: str) -> None:
        base = self._base(tensor)
        chosen = self._output_names.get(base)
        if chosen is None:
            taken = name in self._output_names.values()
            chosen = f"{name}{names.FLOAT if base.is_float else names.INT8}" if taken else name
        self._done[base] = self._tensor(base, chosen)

    def _realized(self, version: _Version) -> int:
        if version in self._done:
            return self._done[version]
        if version == self._base(version.tensor):
            # No operator gives it: a constant that is an output.
            name = self._output_names.get(version, "constant")
            self._done[version] = self.writer.copied_tensor(name, version.tensor)
            return self._done[version]
        if version.is_float and version.path:
            source = self._realized(attrs.evolve(version, is_float=False))
            code, number, ending = OPERATOR.DEQUANTIZE, 2, names.FLOAT
        else:
            # From one grid to another by way of floats: the kernel for integers rounds twice, and
            # returns another code for about one value of ten.
            shorter = version.path[:-1]
            direct = bool(shorter) and self._integers_alone
            source = self._realized(_Version(version.tensor, shorter, not direct))
            code, number, ending = OPERATOR.QUANTIZE, 2 if direct else 1, names.INT8
        name = f"{self._graph.names.get(version.tensor, 'value')}{ending}"
        added = self._tensor(version, self._output_names.get(version, name))
        self.writer.operator(code, number, [source], [added])
        self._done[version] = added
        return added

    def _tensor(self, version: _Version, name: str) -> int:
        like = self._graph.tensor(version.tensor)
        if version.is_float:
            return self.writer.tensor(name, like, quantization=like.quantization)
        grid = version.path[-1]
        parameters = quantization(grid.scale, grid.zero_point)
        return self.writer.tensor(name, like, dtype=INT8, quantization=parameters)


def _without_repetition(grids: list[ValueGrid]) -> tuple[ValueGrid, ...]:
    return tuple(grid for i, grid in enumerate(grids) if i == 0 or grid != grids[i - 1])
