"""What one target computes: the simulation of the layers, with the target's own roundings in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import tensor_name
from graphquant_core.record import Record
from graphquant_core.target_rules import TargetRules
from graphquant_core.value_grid import ValueGrid
from graphquant_core.weight_record import Factors
from graphquant_export.quantized.complete_record import complete_record, extreme_values
from graphquant_export.quantized.match_record import checked_record
from graphquant_export.quantized.round_values import ValueQuantizer, round_values
from graphquant_export.quantized.simulate import SimulatedGraph
from graphquant_export.quantized.target_planner import TargetPlanner
from graphquant_export.quantized.value_grids import grids_of_values
from graphquant_export.quantized.zero_points import (
    layers_with_shifts,
    shift_results,
    zero_point_shifts,
)


@attrs.frozen
class PlannedResult:
    """What an integer layer returns.

    Attributes:
        node: Name of its node in the graph of integers, before it is rounded.
        grid: The grid that it is rounded to.
    """

    node: str
    grid: ValueGrid


@attrs.frozen(eq=False)
class TargetSimulation:
    """The simulation of one target.

    Attributes:
        graph_def: The simulation with a fake quantiser for everything that the target rounds.
        values: The fake quantisers that are not those of a layer's input.
        reference: The graph of integers with the same fake quantisers.
        results: What each layer returns, by its name; none of a layer that returns floats.
        float_layers: Names of the layers that the target computes with floats, whatever is known of
            their results: those that were named, and those of `TargetRules.summed_zero_points` that
            the record was made without.
        rules: The target's rules.
        record: The record that it was made of, with the grids of the values that the target rounds,
            observed ones included, and no others.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    values: tuple[ValueQuantizer, ...]
    reference: tf.compat.v1.GraphDef = attrs.field(repr=False)
    results: Mapping[str, PlannedResult]
    float_layers: frozenset[str]
    rules: TargetRules
    record: Record


def simulate_target(
    simulated: SimulatedGraph,
    record: Factors,
    rules: TargetRules,
    calibration: Mapping[str, npt.ArrayLike] | None = None,
    float_layers: Collection[str] = (),
) -> TargetSimulation:
    """`simulated` as a target with `rules` computes it.

    Args:
        simulated: The simulation of the layers.
        rules: The target's rules.
        record: The record that it was made of, with the grids of values.
        calibration: Samples for each placeholder, by name; they show the range of each value that
            the record has no grid of. Without them such a value stays float.
        float_layers: Names of layers that the target computes with floats, whatever its rules say
            of their type.

    Raises:
        RecordError: A value of the record is not in the model; names it.
        ConfigError, RangeError, NonFiniteError: as `observe_ranges`.
    """
    record = checked_record(record)
    planner = TargetPlanner(simulated, rules, float_layers)
    planner.check_names(record)
    if calibration is not None:
        record = complete_record(planner, record, extreme_values(planner, calibration))
    plan = planner.plan(known=record.value_grids)
    grids = grids_of_values(plan.values, record.value_grids)
    nodes = {tensor_name(value.tensor.name): grids[value.name] for value in plan.values}
    by_name = planner.grids | grids
    rounded = {layer: by_name[rounds] for layer, (_, rounds) in plan.results.items()}
    used = {value.name: grids[value.name] for value in plan.values if value.has_range}
    # Whoever made a record for a target that rounds results has the last layer's in it.
    unforeseen = frozenset() if used else layers_with_shifts(simulated, rules, rounded)
    if unforeseen:
        return simulate_target(
            simulated, record, rules, float_layers=unforeseen.union(float_layers)
        )
    shifts = zero_point_shifts(simulated, rules, rounded)
    shifted = shift_results(simulated.graph_def, simulated.outputs, shifts)
    graph_def, quantizers = round_values(shifted, simulated.outputs, nodes)
    dequantized = simulated.exact.results
    exact = {dequantized.get(node, node): grid for node, grid in nodes.items()}
    shifted = shift_results(
        simulated.exact.graph_def,
        simulated.outputs,
        {dequantized.get(node, node): shift for node, shift in shifts.items()},
    )
    reference, rounding = round_values(shifted, simulated.outputs, exact)
    record = attrs.evolve(record, value_grids=used)
    renamed = {quantizer.name: quantizer.source for quantizer in rounding}
    results = {}
    for layer, (tensor, _) in plan.results.items():
        node = dequantized.get(tensor.op.name, tensor.op.name)
        results[layer] = PlannedResult(renamed.get(node, node), rounded[layer])
    return TargetSimulation(
        graph_def, quantizers, reference, results, frozenset(float_layers), rules, record
    )
