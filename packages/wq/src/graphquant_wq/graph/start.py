"""What `init` finds out from the weights: which zeros to keep, and where training starts."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.finite import check_finite
from graphquant_core.graph import GraphView
from graphquant_core.graph.guards import first_gradient_op
from graphquant_core.graph.weight_source import plain_variable
from graphquant_core.registry import Registry
from graphquant_wq.graph.records import GraphRecord, QuantizedWeight
from graphquant_wq.settings import LayerSettings
from graphquant_wq.strategies.contract import StartsByClipping, StartsVariables

Array = npt.NDArray[np.float32]
Values = Mapping[str, Array]


def check_weights(weights: Mapping[str, QuantizedWeight], values: Values) -> None:
    """Return when every weight is finite.

    Raises:
        NonFiniteError: One isn't; names the layer and the variable.
    """
    for name, weight in weights.items():
        where = f'weight "{weight.layer.weight_source}" of layer "{name}"'
        check_finite(values[weight.weight], where)


def has_pruned_zeros(values: Array) -> bool:
    """Whether some of the weights are zero, but not all: a weight that starts at zero may learn."""
    return bool(0 < np.count_nonzero(values) < values.size)


def trained_variables(weight: QuantizedWeight, registry: Registry) -> list[str]:
    """Names of the variables that the strategy of `weight` trains."""
    strategy = registry.weight_quantizer(weight.settings.strategy)
    if not isinstance(strategy, StartsVariables):
        return []
    names = strategy.variables(weight.settings.grid)
    return [f"{weight.layer.weight_source}/{name}" for name in names]


@attrs.frozen(eq=False)
class Start:
    """Where the training of the graph of `record` starts.

    Attributes:
        record: What is known of the graph.
        values: Its weights, and the factors that they are multiplied by, by tensor name.
        kept: Names of the layers whose zeros are kept.
        registry: Where the strategies come from.
    """

    record: GraphRecord
    values: Values
    kept: frozenset[str]
    registry: Registry

    def flags(self, graph: tf.Graph) -> dict[str, npt.NDArray[np.bool_]]:
        """Value of the variable that says which weights keep zeros, by its name."""
        if self.record.flags is None:
            return {}
        # It has a place for each layer, and layers that share a weight share one.
        shape = graph.get_operation_by_name(self.record.flags).get_attr("shape")
        flags = np.zeros([size.size for size in shape.dim], bool)
        for name, weight in self.record.weights.items():
            if weight.flag is not None and name in self.kept:
                flags[weight.flag] = True
        return {self.record.flags: flags}

    def variables(self, started: frozenset[str]) -> dict[str, Array]:
        """Values of the variables that strategies train, by name, but of those in `started`."""
        starts: dict[str, Array] = {}
        for name, weight in self.record.weights.items():
            missing = set(trained_variables(weight, self.registry)) - started
            strategy = self.registry.weight_quantizer(weight.settings.strategy)
            if missing and isinstance(strategy, StartsVariables):
                rows = self._rows(weight)
                found = strategy.start(rows, self._settings(name, weight).grid)
                for full_name in missing:
                    variable = full_name.rpartition("/")[2]
                    starts[full_name] = found.get(variable, np.zeros(len(rows), np.float32))
        return starts

    def clipped_weights(self, graph: tf.Graph) -> dict[str, Array]:
        """New values of the weights' variables that the grid fits better when clipped, by name."""
        view = GraphView(graph)
        if self.record.settings.start == "auto" and first_gradient_op(view) is None:
            return {}
        starts = {}
        for name, weight in self.record.weights.items():
            strategy = self.registry.weight_quantizer(weight.settings.strategy)
            variable = plain_variable(view, graph.get_tensor_by_name(weight.weight))
            if isinstance(strategy, StartsByClipping) and variable is not None:
                rows = self._rows(weight)
                clipped = strategy.clip(rows, self._settings(name, weight).grid)
                changed = clipped != rows
                if changed.any():
                    factor = None if weight.factor is None else self.values[weight.factor]
                    new = weight.unfolded(clipped, factor)
                    old = self.values[weight.weight]
                    starts[variable.name] = np.where(weight.grouping.weight(changed), new, old)
        return starts

    def _rows(self, weight: QuantizedWeight) -> Array:
        factor = None if weight.factor is None else self.values[weight.factor]
        return weight.folded_rows(self.values[weight.weight], factor)

    def _settings(self, name: str, weight: QuantizedWeight) -> LayerSettings:
        return weight.settings_with_zero() if name in self.kept else weight.settings
