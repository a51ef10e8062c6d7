"""Which layers of a float model are quantised after training, and where they stand."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, NoLayersError, RecordError, UnknownNameError
from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.layer import Layer
from graphquant_core.listing import brief_repr
from graphquant_core.plan import Plan
from graphquant_core.suggestions import closest
from graphquant_export.quantized.find_layers import (
    LayerPlace,
    check_not_exported,
    find_layers,
)

logger = logging.getLogger(__name__)


def quantized_places(
    graph: tf.Graph, outputs: Sequence[str], skip_layers: Iterable[str]
) -> list[LayerPlace]:
    """The place of each layer of `graph` that `skip_layers` doesn't name, nor a loop holds.

    Raises:
        NoLayersError: There is none.
        ConfigError, UnknownNameError: `skip_layers` is no list, or names nothing.
        ModelFileError: The model was exported before.
        RecordError: It was trained with fake quantisers.
    """
    view = GraphView(graph)
    check_not_exported(view)
    plan = plan_graph(graph, view=view)
    wanted = _wanted(plan, skip_layers)
    for skip in plan.skips:
        logger.info('layer "%s" (%s) stays float: %s', skip.name, skip.op_type, skip.reason)
    if not wanted:
        raise NoLayersError(_nothing_left(plan))
    places = find_layers(view, wanted, outputs)
    for place in places:
        if place.trained or place.activation is not place.op.inputs[place.layer.activation_port]:
            raise RecordError(
                f'layer "{place.layer.name}" was trained with fake quantisers: export the model '
                "with the record that its training wrote"
            )
    return places


def _wanted(plan: Plan, skip_layers: Iterable[str]) -> list[Layer]:
    if isinstance(skip_layers, str):
        raise ConfigError(f"skip_layers ({brief_repr(skip_layers)}) must be a list of layer names")
    patterns = tuple(skip_layers)
    rows = [row.name for row in plan.rows]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in rows):
            raise UnknownNameError(
                f'skip_layers: no layer is called "{pattern}"{closest(pattern, rows)}'
            )
    return [
        layer
        for layer in plan.layers
        if not any(fnmatchcase(layer.name, pattern) for pattern in patterns)
    ]


def _nothing_left(plan: Plan) -> str:
    if plan.layers:
        return f"all {len(plan.layers)} layers of the model are skipped, so nothing is quantised"
    reason = ""
    if plan.skips:
        first = plan.skips[0]
        reason = f': {len(plan.skips)} skipped, such as "{first.name}" ({first.reason})'
    return f"the model has no layer that can be quantised{reason}"
