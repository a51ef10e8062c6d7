"""Ops that tf_keras leaves in a graph when a functional model is built, before it is called.

`tf_keras.Model(inputs, outputs)` in a tf.Graph is a first copy of the layers, on placeholders of
Keras's own, and every call of the model on a tensor is a further one. Whoever calls it never feeds
those placeholders: a range there would wait for data for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.plan import Plan


def uncalled_copies(view: GraphView, plan: Plan) -> Mapping[str, str]:
    """Name of each layer that stands in a copy that nothing uses: a called layer beside it.

    A first copy counts as unused when a layer outside of it has one of its weights, and nothing
    takes its results.
    """
    found: dict[str, str] = {}
    fed = (kind for kind in view.types if kind.startswith("Placeholder"))
    for placeholder in view.of_types(fed):
        if not _made_by_keras(placeholder):
            continue
        copy = view.downstream([placeholder])
        names = {op.name for op in copy}
        inside = [layer for layer in plan.layers if layer.name in names]
        called: dict[str | None, str] = {
            layer.weight_source: layer.name
            for layer in plan.layers
            if layer.weight_source and layer.name not in names
        }
        twins = [called[layer.weight_source] for layer in inside if layer.weight_source in called]
        if twins and not any(_has_consumers(view, op) for op in _results(view, copy)):
            found |= {layer.name: called.get(layer.weight_source, twins[0]) for layer in inside}
    return found


def _results(view: GraphView, copy: set[tf.Operation]) -> list[tf.Operation]:
    """Ops of `copy` that made the output of a layer which no further layer takes."""
    leads_on: set[tf.Operation] = set()
    results = []
    for op in reversed([op for op in view.operations if op in copy]):
        consumers = [consumer for tensor in op.outputs for consumer, _ in view.consumers(tensor)]
        if any(consumer in leads_on or _made_by_keras(consumer) for consumer in consumers):
            leads_on.add(op)
        elif _made_by_keras(op):
            results.append(op)
    return results


def _has_consumers(view: GraphView, op: tf.Operation) -> bool:
    return any(view.consumers(tensor) for tensor in op.outputs)


def _made_by_keras(op: tf.Operation) -> bool:
    """Whether `op` computes what a layer returned while a model was built."""
    return any(getattr(tensor, "_keras_history", None) is not None for tensor in op.outputs)
