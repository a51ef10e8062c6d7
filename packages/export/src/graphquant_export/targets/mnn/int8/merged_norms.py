"""Batch norms that MNN's converter merges into layers that compute with floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.graph import GraphView, affine_tail
from graphquant_core.graph.frozen import evaluate_constants
from graphquant_core.graph.frozen.fold_batch_norm import folds, parameters
from graphquant_core.layer import Layer
from graphquant_export.targets.mnn.int8.mnn_layers import LayerPart
from graphquant_export.targets.mnn.model_file import MnnLayer

Factors = npt.NDArray[np.float64]


def with_merged_factors(
    view: GraphView, parts: Sequence[LayerPart], stored: Mapping[str, MnnLayer]
) -> tuple[LayerPart, ...]:
    """`parts`, the scales of those that compute with floats times what was merged into them.

    A record that doesn't fold a batch norm leaves it behind the layer, where it is merged: the
    weights of a channel become weight * gamma / sqrt(variance + epsilon). Their codes stay, or
    change their signs where that is negative; -128, which has no opposite, becomes 127.

    Args:
        view: View of the graph that was converted.
        parts: The layers, with the codes and scales of the record.
        stored: The layers of the .mnn file, with scales that the converter derived.
    """
    return tuple(_merged(view, part, stored[part.stored.name]) for part in parts)


def _merged(view: GraphView, part: LayerPart, stored: MnnLayer) -> LayerPart:
    layer, weight = part.planned.layer, stored.weight
    if part.output is not None or part.scale.ndim != 1 or layer is None or weight is None:
        return part
    record = part.codes * part.scale[:, None].astype(np.float64)
    size = np.maximum(np.square(record).sum(axis=1), np.finfo(np.float64).tiny)
    found = (weight.values() * record).sum(axis=1) / size
    candidates = _factors(view, layer, part)
    nearest = min(candidates, key=lambda factor: float(np.abs(factor - found).sum()))
    codes = np.where(nearest[:, None] < 0, -part.codes.astype(np.int16), part.codes)
    scale = np.asarray(part.scale * np.abs(nearest), np.float32)
    return attrs.evolve(part, codes=np.minimum(codes, 127).astype(np.int8), scale=scale)


def _factors(view: GraphView, layer: Layer, part: LayerPart) -> list[Factors]:
    """What may have been merged into the part: factors of its rows, first none at all."""
    rows = len(part.scale)
    channels = layer.output_channels or 0
    output = view.graph.get_operation_by_name(layer.name).outputs[0]
    steps = affine_tail(view, output, layer.output_channel_axis, channels)
    needed = parameters(steps)
    values = dict(
        zip((x.name for x in needed), evaluate_constants(view.graph, needed), strict=True)
    )
    found = [np.broadcast_to(fold.factor, [channels]) for fold in folds(steps, values, channels)]
    return [factor[part.first : part.first + rows] for factor in found]
