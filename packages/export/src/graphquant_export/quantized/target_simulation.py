"""What one target computes: the simulation of the layers, with the target's own roundings in it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

import attrs
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import RecordError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import import_frozen, tensor_name
from graphquant_core.record import Record
from graphquant_core.suggestions import closest
from graphquant_core.target_rules import TargetRules
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.round_values import ValueQuantizer, round_values
from graphquant_export.quantized.rounding_plan import (
    ResultOfLayer,
    RoundedValue,
    RoundingPlan,
    plan_roundings,
)
from graphquant_export.quantized.value_grids import (
    Range,
    grids_of_values,
    lost_operand,
    observed_grid,
)
from graphquant_export.simulation import SimulatedGraph, observe_ranges

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class TargetSimulation:
    """The simulation of one target.

    Attributes:
        graph_def: The simulation with a fake quantiser for everything that the target rounds.
        values: The fake quantisers that are not those of a layer's input.
        reference: The graph of integers with the same fake quantisers.
        results: The grid of what each layer returns, by its name; none of a layer that returns
            floats.
        float_layers: Names of the layers that the target computes with floats, whatever is known of
            their results.
        record: The record that it was made of, with the grid of each value that was observed.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    values: tuple[ValueQuantizer, ...]
    reference: tf.compat.v1.GraphDef = attrs.field(repr=False)
    results: Mapping[str, ValueGrid]
    float_layers: frozenset[str]
    record: Record


def simulate_target(
    simulated: SimulatedGraph,
    record: Record,
    rules: TargetRules,
    calibration: Mapping[str, npt.ArrayLike] | None = None,
    float_layers: Collection[str] = (),
) -> TargetSimulation:
    """`simulated` as a target with `rules` computes it.

    Args:
        simulated: The simulation of the layers.
        record: The record that it was made of, with the grids of values.
        rules: The target's rules.
        calibration: Samples for each placeholder, by name; they show the range of each value that
            the record has no grid of. Without them such a value stays float.
        float_layers: Names of layers that the target computes with floats, whatever its rules say
            of their type.

    Raises:
        RecordError: A value of the record is not in the model; names it.
        ConfigError, RangeError, NonFiniteError: as `observe_ranges`.
    """
    planner = _Planner(simulated, rules, float_layers)
    planner.check_names(record)
    if calibration is not None:
        record = planner.completed(record, calibration)
    plan = planner.plan(known=record.value_grids)
    grids = grids_of_values(plan.values, record.value_grids)
    nodes = {tensor_name(value.tensor.name): grids[value.name] for value in plan.values}
    graph_def, quantizers = round_values(simulated.graph_def, simulated.outputs, nodes)
    dequantized = {layer.result: layer.dequant for layer in simulated.layers}
    exact = {dequantized.get(node, node): grid for node, grid in nodes.items()}
    reference, _ = round_values(simulated.deployed, simulated.outputs, exact)
    by_name = planner.grids | grids
    results = {layer: by_name[rounds] for layer, rounds in plan.results.items()}
    return TargetSimulation(
        graph_def, quantizers, reference, results, frozenset(float_layers), record
    )


class _Planner:
    """The rounding plans of one simulation.

    Attributes:
        grids: Grid of the quantiser of what each layer takes, by its name.
    """

    def __init__(
        self, simulated: SimulatedGraph, rules: TargetRules, float_layers: Collection[str]
    ) -> None:
        self._simulated = simulated
        self._rules = rules
        self._view = GraphView(import_frozen(simulated.graph_def))
        self.grids = {layer.quantizer: layer.grid for layer in simulated.layers}
        self._results = [
            ResultOfLayer(
                layer.name,
                layer.op_type,
                self._view.graph.get_operation_by_name(layer.result).outputs[0],
            )
            for layer in simulated.layers
            if layer.name not in float_layers
        ]

    def plan(
        self, known: Mapping[str, ValueGrid] | None = None, unrounded: Sequence[str] = ()
    ) -> RoundingPlan:
        """The plan with these grids, by default with every grid."""
        return plan_roundings(
            self._view,
            self._rules,
            self._results,
            {(name, 0): name for name in self.grids},
            self._simulated.outputs,
            known=known,
            unrounded=unrounded,
        )

    def check_names(self, record: Record) -> None:
        """Refuses a value that the model doesn't have."""
        layers = {f"{layer.name}:0" for layer in self._simulated.layers}
        tensors = {tensor.name for op in self._view.operations for tensor in op.outputs}
        for name in record.value_grids:
            if name not in layers and name not in tensors:
                raise RecordError(
                    f'cannot use the record of value "{name}", please match record and model: the '
                    f"model has no such tensor{closest(name, layers | tensors)}"
                )

    def completed(self, record: Record, calibration: Mapping[str, npt.ArrayLike]) -> Record:
        """`record` with the grid of each value that it lacks, where values of it are left."""
        unrounded: list[str] = []
        ranges: dict[str, Range] = {}
        while True:
            values = self.plan(unrounded=unrounded).values
            lacking = [v for v in values if v.has_range and v.name not in record.value_grids]
            self._observe(ranges, lacking, calibration)
            lost = [v.name for v in lacking if _loses_operand(v, ranges)]
            if not lost:
                break
            unrounded += lost
        found = {v.name: observed_grid(v, ranges[v.tensor.name], self.grids) for v in lacking}
        return attrs.evolve(record, value_grids={**record.value_grids, **found})

    def _observe(
        self,
        ranges: dict[str, Range],
        values: Sequence[RoundedValue],
        calibration: Mapping[str, npt.ArrayLike],
    ) -> None:
        tensors = [value.tensor for value in values]
        tensors += [operand for value in values if value.united for operand in value.operands]
        names = [name for name in dict.fromkeys(t.name for t in tensors) if name not in ranges]
        ranges.update(observe_ranges(self._simulated.graph_def, names, calibration))


def _loses_operand(value: RoundedValue, ranges: Mapping[str, Range]) -> bool:
    operand = lost_operand(value, ranges)
    if operand is not None:
        logger.warning(
            '"%s" computes in float: on the grid of its result, "%s" would keep less than 4 of its '
            "8 bits",
            value.tensor.op.name,
            operand.op.name,
        )
    return operand is not None
