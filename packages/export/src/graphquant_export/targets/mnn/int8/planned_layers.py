"""What each layer of a record becomes in an MNN model, and on which grids its activations lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.graph.frozen.shape_ops import SHAPE_TYPES
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_export.quantized.simulate import SimulatedGraph, SimulatedLayer
from graphquant_export.quantized.target_simulation import PlannedResult
from graphquant_export.targets.mnn.int8.activation_grid import ActivationGrid
from graphquant_export.targets.mnn.int8.subpixel_form import TRANSPOSED
from graphquant_export.targets.mnn.layers import check_convertible, plan_for_mnn
from graphquant_export.targets.mnn.op_names import op_with_activation

INT8, WEIGHTS, FLOAT = "int8", "int8 weights", "float"
UNCALIBRATED = (
    "the record has no grid of what it returns: give calibration samples that show its range, or "
    "train for mnn"
)
ZERO_POINT = (
    "MNN's int8 kernel adds the zero point of its result as a whole number, which the record knows "
    "nothing of: give calibration samples, or train for mnn"
)
_OF_SHAPES = (
    "it takes what follows from shapes alone, which MNN computes before it runs integer layers"
)
_REASONS = {
    "Conv2DBackpropInput": "MNN quantises only the weight of a transposed convolution whose height "
    "or width is not static",
    "AvgPool": "MNN averages values of the grid with floats",
}


@attrs.frozen(eq=False)
class PlannedLayer:
    """One layer of the record.

    Attributes:
        simulated: The layer in the simulation.
        layer: Its description; ``None`` when MNN doesn't quantise such a layer.
        execution: ``"int8"``, ``"int8 weights"`` or ``"float"``.
        result: Name of the op with the layer's result as MNN returns it, a merged bias and
            activation function included.
        input: Grid of what it takes, when its execution is int8.
        output: Grid of `result`, when its execution is int8.
        reason: Why it isn't int8, or what else a reader should know.
        finished: Name of the op that puts the values of `result` where the layer returns them;
            ``None`` where `result` is what it returns.
    """

    simulated: SimulatedLayer
    layer: Layer | None
    execution: str
    result: str
    input: ActivationGrid | None = None
    output: ActivationGrid | None = None
    reason: str | None = None
    finished: str | None = None

    @property
    def op_type(self) -> str:
        """Type of its op in the record's model."""
        return self.simulated.op_type if self.finished is None else TRANSPOSED


def plan_layers(
    described: Iterable[PlannedLayer], results: Mapping[str, PlannedResult]
) -> tuple[PlannedLayer, ...]:
    """Every layer of the record with the grid of its result, in the order of the simulation.

    A layer whose result has none computes with floats.

    Args:
        described: What MNN can make of each layer.
        results: What each layer returns, by its name.
    """
    return tuple(with_output(layer, results) for layer in described)


def float_layers(planned: Iterable[PlannedLayer]) -> list[Skip]:
    """Those of `planned` that MNN computes with floats; first those that a range would help."""
    floats = [
        Skip(layer.simulated.name, layer.simulated.op_type, layer.reason or layer.execution)
        for layer in planned
        if layer.execution != INT8
    ]
    return sorted(floats, key=lambda skip: skip.reason not in (UNCALIBRATED, ZERO_POINT))


def in_floats(planned: PlannedLayer, reason: str) -> PlannedLayer:
    """`planned`, an int8 layer, with floats and int8 weights instead."""
    return attrs.evolve(planned, execution=WEIGHTS, input=None, output=None, reason=reason)


def with_output(planned: PlannedLayer, results: Mapping[str, PlannedResult]) -> PlannedLayer:
    """`planned` with the grid of its result, or in floats where `results` have none."""
    if planned.execution != INT8:
        return planned
    result = results.get(planned.simulated.name)
    if result is None:
        return in_floats(planned, UNCALIBRATED)
    grid = ActivationGrid(result.grid.scale, result.grid.zero_point)
    return attrs.evolve(planned, output=grid)


def describe_layers(simulated: SimulatedGraph) -> tuple[PlannedLayer, ...]:
    """What MNN can make of each layer of the simulation, without the grids of their results.

    Args:
        simulated: The simulation with its channels last.

    Raises:
        UnsupportedLayerError: MNN's converter would make a wrong model of the graph.
    """
    graph = import_frozen(simulated.graph_def)
    check_convertible(graph)
    view = GraphView(graph)
    plan = plan_for_mnn(graph, view=view)
    return tuple(describe_layer(view, plan, layer) for layer in simulated.layers)


def describe_layer(view: GraphView, plan: Plan, simulated: SimulatedLayer) -> PlannedLayer:
    """What MNN can make of one layer, without the grid of its result."""
    row = next((row for row in plan.rows if row.name == simulated.node), None)
    if not isinstance(row, Layer):
        reason = row.reason if isinstance(row, Skip) else None
        if reason is None:
            reason = _REASONS.get(simulated.op_type, f"MNN quantises no {simulated.op_type}")
        return PlannedLayer(simulated, None, FLOAT, simulated.result, reason=reason)
    result = op_with_activation(view, row).name
    op = view.graph.get_operation_by_name(row.name)
    if _follows_from_shapes(op.inputs[row.activation_port]):
        return PlannedLayer(simulated, None, FLOAT, simulated.result, reason=_OF_SHAPES)
    if row.op_type == "Conv2DBackpropInput":
        return PlannedLayer(simulated, row, WEIGHTS, result, reason=_REASONS[row.op_type])
    return PlannedLayer(simulated, row, INT8, result, _input_grid(simulated))


def _follows_from_shapes(tensor: tf.Tensor) -> bool:
    """Whether nothing that is fed has a part in `tensor`, as in the first state of a recurrence."""
    waiting, seen = [tensor.op], {tensor.op}
    while waiting:
        op = waiting.pop()
        if op.type.startswith("Placeholder"):
            return False
        before = [] if op.type in SHAPE_TYPES else [x.op for x in op.inputs if x.op not in seen]
        seen.update(before)
        waiting.extend(before)
    return True


def _input_grid(simulated: SimulatedLayer) -> ActivationGrid:
    return ActivationGrid(simulated.scale_d, simulated.offset_d)
