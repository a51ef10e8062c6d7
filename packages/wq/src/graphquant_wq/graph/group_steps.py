"""The step of the grid that each element of a weight starts on, and variables that hold it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.weight_source import plain_variable
from graphquant_wq.graph.records import GraphRecord, QuantizedWeight
from graphquant_wq.settings import LayerSettings

v1 = tf.compat.v1
Float32Array = npt.NDArray[np.float32]


@attrs.frozen(eq=False)
class StepVariables:
    """A variable for each weight that is trained, which no Saver saves.

    Attributes:
        ratio: What a step is multiplied by.
        units: ratio * step of each element, by the name of the weight's variable.
        weights: A layer that takes the weight, likewise; all that do share one grid.
    """

    ratio: float
    units: dict[str, tf.Variable]
    weights: dict[str, str]

    def start(
        self, record: GraphRecord, values: Mapping[str, Float32Array]
    ) -> dict[str, Float32Array]:
        """Value of each variable, by the name of its op.

        Args:
            record: What is known of the graph.
            values: Its weights and factors as training starts from them, by tensor name.
        """
        found = {}
        for name, layer in self.weights.items():
            weight = record.weights[layer]
            factor = None if weight.factor is None else values[weight.factor]
            steps = step_of_each(weight, values[weight.weight], factor, record.settings_of(layer))
            # A group without a grid yet is trained as by the optimizer alone.
            found[self.units[name].op.name] = np.where(steps > 0, self.ratio * steps, 1)
        return found


def step_variables(graph: tf.Graph, record: GraphRecord, ratio: float) -> StepVariables:
    """Variables without values for every weight of `record` that is a variable."""
    view = GraphView(graph)
    found = StepVariables(ratio, {}, {})
    for layer, weight in record.weights.items():
        variable = plain_variable(view, graph.get_tensor_by_name(weight.weight))
        if variable is None or variable.name in found.units:
            continue
        shape = [size.size for size in variable.get_attr("shape").dim]
        with graph.as_default(), v1.name_scope(f"{variable.name}/step_units/"):
            found.units[variable.name] = v1.Variable(
                tf.zeros(shape), trainable=False, collections=[], name="step", use_resource=True
            )
        found.weights[variable.name] = layer
    return found


def step_of_each(
    weight: QuantizedWeight,
    values: Float32Array,
    factor: Float32Array | None,
    settings: LayerSettings,
) -> Float32Array:
    """The step of the live grid of each element's group: (max - min) / (2^b - 1), or max|w| / q.

    Args:
        weight: The weight.
        values: Its values.
        factor: What MNN multiplies it by first, if groups depend on it.
        settings: How it is quantised.
    """
    rows = weight.folded_rows(values, factor)
    grid = settings.grid
    ends = (
        np.ptp(rows, axis=1) / (grid.maximum - grid.minimum)
        if settings.asymmetric
        else np.abs(rows).max(axis=1) / grid.maximum
    )
    steps = np.broadcast_to(ends[:, None], rows.shape).astype(np.float32)
    return np.abs(weight.unfolded(steps, factor))
