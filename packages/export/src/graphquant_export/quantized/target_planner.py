"""What a target rounds of a simulation, with all grids or with those that are known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from graphquant_core.exceptions import RecordError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.record import Record
from graphquant_core.suggestions import closest
from graphquant_core.target_rules import TargetRules
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.rounding_plan import (
    ResultOfLayer,
    RoundingPlan,
    plan_roundings,
)
from graphquant_export.quantized.simulate import SimulatedGraph


class TargetPlanner:
    """The rounding plans of one simulation for one target.

    Args:
        simulated: The simulation of the layers.
        rules: The target's rules.
        float_layers: Names of layers that the target computes with floats, whatever its rules say.

    Attributes:
        graph_def: The graph of the simulation.
        grids: Grid of the quantiser of what each layer takes, by its name.
    """

    def __init__(
        self, simulated: SimulatedGraph, rules: TargetRules, float_layers: Collection[str]
    ) -> None:
        self._simulated = simulated
        self.graph_def = simulated.graph_def
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
