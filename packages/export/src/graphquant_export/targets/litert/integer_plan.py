"""Which operators compute in int8, and on which grids."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from graphquant_core.value_grid import ValueGrid
from graphquant_export.targets.litert.constant_scale import constant_scale
from graphquant_export.targets.litert.float_graph import NO_TENSOR, Edge, FloatGraph, Op
from graphquant_export.targets.litert.grids import Grids
from graphquant_export.targets.litert.kinds import (
    AVERAGING,
    FIXED_RESULTS,
    MOVING,
    RESCALING,
    WEIGHT_PORTS,
    kernel_takes,
)


@attrs.frozen(eq=False)
class IntegerPlan:
    """What runs in int8.

    Attributes:
        inputs: Grid of each float input of an int8 operator, by (operator, input index); one that
            is not here is taken as it is.
        values: Grid of each value that an int8 operator, or an int8 input of the model, gives.
    """

    inputs: Mapping[tuple[int, int], ValueGrid]
    values: Mapping[int, ValueGrid]


def plan_integers(
    graph: FloatGraph, grids: Grids, layers: Mapping[int, ValueGrid], integer_inputs: bool
) -> IntegerPlan:
    """What of `graph` runs in int8.

    Args:
        graph: The float model.
        grids: Grids of its values.
        layers: Grid of the activation of each quantised layer, by the index of its operator.
        integer_inputs: Whether the inputs of the model are int8 where their grid is known.
    """
    planner = _Planner(graph, grids, layers)
    for tensor in graph.inputs if integer_inputs else ():
        grid = grids.of_value(tensor)
        if grid is not None and graph.is_activation(Edge(tensor)):
            planner.values[tensor] = grid
    for index, op in enumerate(graph.ops):
        planner.visit(index, op)
    return IntegerPlan(planner.inputs, planner.values)


class _Planner:
    def __init__(self, graph: FloatGraph, grids: Grids, layers: Mapping[int, ValueGrid]) -> None:
        self._graph = graph
        self._grids = grids
        self._layers = layers
        self.inputs: dict[tuple[int, int], ValueGrid] = {}
        self.values: dict[int, ValueGrid] = {}

    def visit(self, index: int, op: Op) -> None:
        """Lets `op` run in int8 where all of its grids are known."""
        ports = [port for port, edge in enumerate(op.inputs) if self._graph.is_activation(edge)]
        found = [self._grid(op.inputs[port]) for port in ports]
        given = [grid for grid in found if grid is not None]
        if not given or len(given) < len(found):
            return
        result = self._result(index, op, given)
        factors = [self._factor(edge) for edge in op.inputs]
        scales = [*(grid.scale for grid in given), *filter(None, factors)]
        if result is None or not kernel_takes(op.kind, scales, result.scale):
            return
        one_grid = op.kind in MOVING or op.kind in AVERAGING
        for port, grid in zip(ports, given, strict=True):
            self.inputs[index, port] = result if one_grid else grid
        self.values |= dict.fromkeys(op.outputs, result)

    def _result(self, index: int, op: Op, given: list[ValueGrid]) -> ValueGrid | None:
        """The grid of what `op` returns; ``None`` when it must run in float."""
        # A layer's kernel returns integers, whoever takes them.
        layer = op.kind in WEIGHT_PORTS
        wanted = (self._grids.of_value if layer else self._grids.of_all)(op.outputs[0])
        if op.kind in MOVING or op.kind in AVERAGING:
            if op.kind in AVERAGING and wanted is None:
                return None
            if any(self._graph.constant(edge.tensor) is not None for edge in op.inputs):
                return None
            return given[0] if len(set(given)) == 1 else wanted
        if op.kind in FIXED_RESULTS:
            return wanted if wanted == FIXED_RESULTS[op.kind] else None
        if layer:
            return wanted if self._layers.get(index) == given[0] else None
        if op.kind in RESCALING and all(self._has_kernel(edge) for edge in op.inputs):
            return wanted
        return None

    def _factor(self, edge: Edge) -> float | None:
        """Scale of a constant of one value."""
        value = self._graph.constant(edge.tensor)
        return None if value is None or value.size != 1 else constant_scale(float(value.max()))

    def _has_kernel(self, edge: Edge) -> bool:
        # One value is exact in int8; a vector of them would lose digits that training kept.
        value = self._graph.constant(edge.tensor)
        return value is None or value.size == 1

    def _grid(self, edge: Edge) -> ValueGrid | None:
        if edge.tensor == NO_TENSOR:
            return None
        if edge.quantizers:
            return self._grids.quantizers[edge.quantizers[-1]]
        return self.values.get(edge.tensor) or self._grids.of_all(edge.tensor)
