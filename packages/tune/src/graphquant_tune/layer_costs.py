"""What each layer costs at each width, from samples alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from graphquant_tune.compare import Comparison
from graphquant_tune.folded import FoldedModel
from graphquant_tune.grids import Widths


@attrs.frozen
class LayerSensitivity:
    """What one layer costs.

    Attributes:
        name: Name of the layer.
        op_type: Type of its op.
        weights: Number of its weights.
        distances: By bits: how far the outputs are from the float model's when this layer alone
            has so many.
    """

    name: str
    op_type: str
    weights: int
    distances: Mapping[int, float]


def layer_sensitivities(
    model: FoldedModel,
    widths: Widths,
    comparison: Comparison,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[LayerSensitivity, ...]:
    """Distance of the outputs with one layer at one width and all others float.

    Args:
        model: The float model.
        widths: Its weights at several widths.
        comparison: What runs it.
        progress: Called with (runs done, runs in all).

    Source: Dong et al., HAWQ, 2019, for the idea; the measure is the divergence of the outputs.
    """
    layers = [
        layer for layer in model.layers if any(layer.name in w for w in widths.weights.values())
    ]
    total, done = len(layers) * len(widths.weights), 0
    found = []
    for layer in layers:
        distances = {}
        for bits, weights in widths.weights.items():
            distances[bits] = comparison.distance({layer.weight: weights[layer.name]})
            done += 1
            if progress is not None:
                progress(done, total)
        size = next(iter(widths.weights.values()))[layer.name].size
        found.append(LayerSensitivity(layer.name, layer.layer.op_type, size, distances))
    return tuple(found)
