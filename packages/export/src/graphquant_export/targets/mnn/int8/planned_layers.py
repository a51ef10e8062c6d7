"""What each layer of a record becomes in an MNN model, and on which grids its activations lie."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import attrs
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_export.simulation import SimulatedGraph, SimulatedLayer, observe_ranges
from graphquant_export.targets.mnn.int8.activation_grid import ActivationGrid
from graphquant_export.targets.mnn.int8.moved_values import Takers, find_takers
from graphquant_export.targets.mnn.op_names import op_with_activation

logger = logging.getLogger(__name__)

INT8, WEIGHTS, FLOAT = "int8", "int8 weights", "float"
UNCALIBRATED = (
    "what takes its result needs the range of it, which the record does not hold: give "
    "calibration to export"
)
_REASONS = {
    "Conv2DBackpropInput": "MNN quantises the weight of a transposed convolution only",
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
    """

    simulated: SimulatedLayer
    layer: Layer | None
    execution: str
    result: str
    input: ActivationGrid | None = None
    output: ActivationGrid | None = None
    reason: str | None = None


def plan_layers(
    simulated: SimulatedGraph,
    view: GraphView,
    plan: Plan,
    calibration: Mapping[str, npt.ArrayLike] | None,
) -> tuple[PlannedLayer, ...]:
    """Every layer of the record, in the order of the simulation.

    The grid of a result is that of the fake quantiser that takes it, or holds those of all that
    do. Where something else takes it, too, it must hold its range, observed on `calibration`.

    Args:
        simulated: The simulation.
        view: View of its graph.
        plan: What MNN does with the ops of that graph.
        calibration: Samples for each placeholder; without it a layer whose whole result no fake
            quantiser takes computes with floats, and a warning names it.

    Raises: as `observe_ranges`.
    """
    planned = [describe_layer(view, plan, layer) for layer in simulated.layers]
    results = Results(simulated, view, planned)
    observed: dict[str, tuple[float, float]] = {}
    if calibration is not None:
        names = [layer.result for layer in planned if results.takers(layer).floats]
        observed = observe_ranges(simulated.graph_def, names, calibration)
    return tuple(_with_output(layer, results, observed) for layer in planned)


class Results:
    """Who takes the results of the int8 layers among `planned`.

    Args:
        simulated: The simulation.
        view: View of its graph.
        planned: Its layers.
    """

    def __init__(
        self, simulated: SimulatedGraph, view: GraphView, planned: Iterable[PlannedLayer]
    ) -> None:
        self._quantizers = {layer.quantizer: _input_grid(layer) for layer in simulated.layers}
        self._takers = {
            layer.simulated.name: find_takers(
                view, _tensor(view, layer.result), simulated.outputs, self._quantizers
            )
            for layer in planned
            if layer.execution == INT8
        }

    def takers(self, layer: PlannedLayer) -> Takers:
        """Who takes the result of `layer`; nobody when it isn't int8."""
        return self._takers.get(layer.simulated.name, Takers((), (), ()))

    def grids(self, layer: PlannedLayer) -> list[ActivationGrid]:
        """The different grids of the fake quantisers that take the result of `layer`."""
        found = self.takers(layer)
        return list(
            dict.fromkeys(self._quantizers[name] for name in (*found.quantizers, *found.partial))
        )

    def common_grid(self, layer: PlannedLayer) -> ActivationGrid | None:
        """The grid of the fake quantisers that take the result of `layer`, or that holds theirs."""
        grids = self.grids(layer)
        if len(grids) > 1:
            return ActivationGrid.over(grid.ends for grid in grids)
        return grids[0] if grids else None

    def reason(self, layer: PlannedLayer) -> str | None:
        """What a reader should know when the result of `layer` is on `common_grid`."""
        others = self.takers(layer).floats
        return f'its result reaches "{others[0]}" on the grid, too' if others else None


def describe_layer(view: GraphView, plan: Plan, simulated: SimulatedLayer) -> PlannedLayer:
    """What MNN can make of one layer, without the grid of its result."""
    row = next((row for row in plan.rows if row.name == simulated.node), None)
    if not isinstance(row, Layer):
        reason = row.reason if isinstance(row, Skip) else None
        if reason is None:
            reason = _REASONS.get(simulated.op_type, f"MNN quantises no {simulated.op_type}")
        return PlannedLayer(simulated, None, FLOAT, simulated.result, reason=reason)
    result = op_with_activation(view, row).name
    if row.op_type == "Conv2DBackpropInput":
        return PlannedLayer(simulated, row, WEIGHTS, result, reason=_REASONS[row.op_type])
    return PlannedLayer(simulated, row, INT8, result, _input_grid(simulated))


def _with_output(
    planned: PlannedLayer, results: Results, observed: Mapping[str, tuple[float, float]]
) -> PlannedLayer:
    if planned.execution != INT8:
        return planned
    found, grids = results.takers(planned), results.grids(planned)
    whole = bool(found.quantizers)
    seen = observed.get(planned.result)
    if seen is not None and not (len(grids) == 1 and whole and grids[0].covers(*seen)):
        return attrs.evolve(planned, output=ActivationGrid.over([seen]))
    if not grids or (found.floats and not whole):
        name = planned.simulated.name
        logger.warning('layer "%s" computes with floats in MNN: %s', name, UNCALIBRATED)
        return attrs.evolve(planned, execution=WEIGHTS, input=None, reason=UNCALIBRATED)
    output, reason = results.common_grid(planned), results.reason(planned)
    return attrs.evolve(planned, output=output, reason=reason)


def _input_grid(simulated: SimulatedLayer) -> ActivationGrid:
    return ActivationGrid(simulated.scale_d, simulated.offset_d)


def _tensor(view: GraphView, name: str) -> tf.Tensor:
    return view.graph.get_operation_by_name(name).outputs[0]
