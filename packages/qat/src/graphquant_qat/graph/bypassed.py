"""Activation functions in front of quantisers that compute them, too: trained without them.

Fake quantisation over [0, clip_max] returns 0 below 0, as a Relu in front of it does, and lets no
gradient through there. Without the Relu a training step reads and writes each activation once less
on the way forward, and once less on the way back.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.affine import FUSED_BATCH_NORM_TYPES
from graphquant_core.graph.moving_averages import find_moving_averages


def trains(view: GraphView) -> bool:
    """Whether `view`'s graph is meant for training: a batch norm takes its batch's moments.

    What is deployed is another graph, in which the activation functions stay.
    """
    norms = view.of_types(FUSED_BATCH_NORM_TYPES)
    return any(op.get_attr("is_training") for op in norms) or bool(find_moving_averages(view))


def taken_by_one(
    view: GraphView, values: tf.Tensor, takers: Mapping[tuple[tf.Operation, int], Hashable]
) -> bool:
    """Whether all that takes `values` takes it through one quantiser.

    Args:
        view: View of the graph.
        values: Output of the activation function.
        takers: Configuration of the activation that an op takes at an input.
    """
    configurations = [takers.get(consumer) for consumer in view.consumers(values)]
    return None not in configurations and len(set(configurations)) == 1
