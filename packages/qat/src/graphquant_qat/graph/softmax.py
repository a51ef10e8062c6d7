"""Convolutions that make class scores: AMCT quantises those with one scale for the tensor."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.plan import Plan

PASSING_TYPES = frozenset({"BiasAdd", "Add", "AddV2", "Squeeze", "Reshape", "Identity"})


def layers_before_softmax(view: GraphView, plan: Plan) -> frozenset[str]:
    """Names of the layers whose result reaches a Softmax through bias and reshaping only."""
    return frozenset(
        layer.name
        for layer in plan.layers
        if _reaches_softmax(view, view.graph.get_operation_by_name(layer.name))
    )


def _reaches_softmax(view: GraphView, op: tf.Operation) -> bool:
    waiting = [op]
    seen = {op}
    while waiting:
        for consumer, _ in view.consumers(waiting.pop().outputs[0]):
            if consumer.type == "Softmax":
                return True
            if consumer.type in PASSING_TYPES and consumer not in seen:
                seen.add(consumer)
                waiting.append(consumer)
    return False
