"""What tuning gives: a model, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import tensorflow as tf

from graphquant_core.plan import Plan
from graphquant_core.weight_record import Factors
from graphquant_tune.curve import CurvePoint
from graphquant_tune.layer_costs import LayerSensitivity
from graphquant_tune.loop import Ended
from graphquant_tune.quality import Quality


@attrs.frozen(eq=False)
class TunedModel:
    """A model whose weights lie on their grids.

    Attributes:
        graph_def: The frozen graph; its weights are folded, its biases and ranges trained.
        outputs: Names of the ops that are its outputs.
        factors: How it is quantised, as exporters take it.
        bits: Bits of each layer that is quantised.
        plan: Every layer, and why those that stay float do.
        sensitivities: What each layer costs at each width; empty when it was not needed.
        before: Quality without training.
        after: Quality of the model.
        training: How training ended.
        curve: Size against quality, the nearest to the float model first; empty when it was not
            asked for.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...]
    factors: Factors = attrs.field(repr=False)
    bits: Mapping[str, int]
    plan: Plan = attrs.field(repr=False)
    sensitivities: tuple[LayerSensitivity, ...]
    before: Quality
    after: Quality
    training: Ended
    curve: tuple[CurvePoint, ...] = ()

    def summary(self) -> dict[str, Any]:
        """What there is to know, as JSON takes it."""
        costs = {layer.name: layer.distances for layer in self.sensitivities}
        return {
            "layers": [
                {
                    "name": layer.name,
                    "type": layer.op_type,
                    "bits": self.bits.get(layer.name),
                    "distance": _by_bits(costs.get(layer.name, {})),
                }
                for layer in self.plan.layers
            ],
            "float": [
                {"name": skip.name, "reason": skip.reason}
                | ({"distance": _by_bits(costs[skip.name])} if skip.name in costs else {})
                for skip in self.plan.skips
            ],
            "before": attrs.asdict(self.before),
            "after": attrs.asdict(self.after),
            "training": attrs.asdict(self.training),
            "curve": [attrs.asdict(point) for point in self.curve],
        }


def _by_bits(distances: Mapping[int, float]) -> dict[str, float]:
    return {str(bits): value for bits, value in distances.items()}
