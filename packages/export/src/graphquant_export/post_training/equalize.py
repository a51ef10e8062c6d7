"""A float graph whose channels between layers have values of one size, where that is worth it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, check_outputs, import_frozen
from graphquant_core.graph.frozen.fold_batch_norm import Values, folds
from graphquant_core.target_rules import TargetRules
from graphquant_export.post_training.balance import Taker, balance_factors
from graphquant_export.post_training.channel_statistics import (
    ChannelStatistics,
    channel_statistics,
)
from graphquant_export.post_training.places import quantized_places
from graphquant_export.quantized.channel_flow import channel_flow
from graphquant_export.quantized.find_layers import LayerPlace
from graphquant_export.quantized.layer_integers import constant_values
from graphquant_export.quantized.named_rules import rules_by_target
from graphquant_export.quantized.rescale import balanced

BATCH_SIZE = 16
"""Samples that are run at once unless the caller says otherwise."""

Balances = dict[str, npt.NDArray[np.float32]]


def equalized(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    calibration: Mapping[str, npt.ArrayLike],
    *,
    skip_layers: Iterable[str] = (),
    target: str | Sequence[str] = "ascend",
    batch_size: int = BATCH_SIZE,
) -> tf.compat.v1.GraphDef:
    """`model` with other weights and the same function, that loses less when it is quantised.

    Its ops and constants keep their names, except for constants that several ops take.

    Args:
        model: Frozen float graph.
        outputs: Names of the ops that are its outputs.
        calibration: Samples for each placeholder, by its name.
        skip_layers: Names or patterns of layers that stay float.
        target: Name of the target that it is to be quantised for, or several.
        batch_size: Samples that are run at once.

    Raises: as `graphquant_export.post_training.quantize_post_training`.
    """
    units = unit_scales_of(rules_by_target(target))
    names = check_outputs(model, outputs)
    graph_def = GraphDefEditor(model).graph_def(names)
    places = quantized_places(import_frozen(graph_def), names, skip_layers)
    balances = find_balances(graph_def, names, places, calibration, batch_size, units)
    return balanced(graph_def, names, places, balances)


def unit_scales_of(targets: Mapping[str, TargetRules]) -> frozenset[str]:
    """Types of the layers that have a scale for each output channel on every one of `targets`."""
    return frozenset.intersection(*(rules.unit_scales for rules in targets.values()))


def find_balances(
    graph_def: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    places: Sequence[LayerPlace],
    calibration: Mapping[str, npt.ArrayLike],
    batch_size: int,
    unit_scales: Collection[str] = (),
) -> Balances:
    """By what each layer's input channels are to be divided, by its name; few layers need it.

    Args:
        graph_def: Frozen float graph.
        outputs: Names of the ops that are its outputs.
        places: Its layers that are quantised.
        calibration: Samples for each placeholder, by its name.
        batch_size: Samples that are run at once.
        unit_scales: As `weight_scales` has it.

    Raises:
        ConfigError, RangeError, NonFiniteError: `calibration` doesn't fit the placeholders.
        ModelFileError: TensorFlow cannot run the model on `calibration`.
    """
    flow = channel_flow(GraphView(places[0].op.graph), places, outputs)
    takers = {
        place.layer.name: place
        for place in places
        if place.layer.name in flow.taken and not flow.fixed[flow.taken[place.layer.name]].all()
    }
    if not takers:
        return {}
    axes = {str(place.quantized.name): place.layer.input_channel_axis for place in takers.values()}
    found = channel_statistics(import_frozen(graph_def), axes, calibration, batch_size)
    values = constant_values(places[0].op.graph, list(takers.values()))
    described = [
        _taker(place, flow.taken[name], found[place.quantized.name], values, unit_scales)
        for name, place in takers.items()
    ]
    # What isn't finite is told where ranges are estimated.
    factors = balance_factors([taker for taker in described if taker.finite], flow.fixed)
    balances = {name: factors[flow.taken[name]].astype(np.float32) for name in takers}
    return {name: balance for name, balance in balances.items() if np.any(balance != 1)}


def _taker(
    place: LayerPlace,
    numbers: npt.NDArray[np.int64],
    statistics: ChannelStatistics,
    values: Values,
    unit_scales: Collection[str],
) -> Taker:
    assert place.weight is not None
    layer, weight = place.layer, values[place.weight.name]
    factor = folds(place.tail, values, layer.output_channels or 0)[-1].factor
    shape = per_channel_shape(weight.shape, layer.weight_channel_axes)
    folded = weight.astype(np.float64) * np.broadcast_to(
        factor, (layer.output_channels or 0,)
    ).reshape(shape)
    one_scale = layer.one_weight_scale and layer.op_type not in unit_scales
    return Taker(layer, numbers, folded, statistics, one_scale)
