"""The op that keeps the zeros of pruned weights while others are trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.weight_source import plain_variable
from graphquant_wq.graph.records import GraphRecord
from graphquant_wq.graph.variables import masked_update

logger = logging.getLogger(__name__)


def zero_keeper(
    graph: tf.Graph, record: GraphRecord, values: Mapping[str, npt.NDArray[np.float32]]
) -> str | None:
    """Name of the op that sets the zeros of all layers in `record.zeros` to zero again.

    Args:
        graph: The graph; the op is added to it.
        record: What is known of it.
        values: Its weights, whose zeros count, by tensor name.

    Returns:
        ``None`` when there are no such zeros.
    """
    view = GraphView(graph)
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for name in sorted(record.zeros or ()):
        weight = record.weights[name]
        variable = plain_variable(view, graph.get_tensor_by_name(weight.weight))
        if variable is None:
            logger.warning(
                'the zeros of layer "%s" are not kept: its weight is no plain variable', name
            )
            continue
        masks[variable.name] = values[weight.weight] == 0
    if not masks:
        return None
    ops = [(graph.get_operation_by_name(name), mask) for name, mask in masks.items()]
    return str(masked_update(graph, ops).name)
