"""The last steps for every kind of model: prune, check the weights, list the placeholders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from graphquant_core.exceptions import NonFiniteError
from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_export.inputs.dense_layers import with_dense_layers
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.inputs.single_precision import as_single_precision

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})


def finish(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], first_inputs: Sequence[str] = ()
) -> LoadedModel:
    """`graph_def` pruned to `outputs`, in float32, with a MatMul for each product with a weight.

    Args:
        graph_def: Frozen graph.
        outputs: Names of ops in it.
        first_inputs: Names of placeholders in the order of a signature.

    Raises:
        NonFiniteError: A constant of more than one element holds NaN; names it.
    """
    pruned = as_single_precision(GraphDefEditor(graph_def).graph_def(outputs))
    for node in pruned.node:
        if node.op == "Const":
            _check_weight(node)
    pruned = with_dense_layers(pruned, outputs)
    placeholders = [node.name for node in pruned.node if node.op in _PLACEHOLDERS]
    ordered = [name for name in first_inputs if name in placeholders]
    inputs = tuple(dict.fromkeys([*ordered, *placeholders]))
    return LoadedModel(pruned, inputs, tuple(outputs))


def _check_weight(node: tf.compat.v1.NodeDef) -> None:
    # Infinity is a mask now and then, and a single NaN a marker; a weight is neither.
    if not tf.as_dtype(node.attr["dtype"].type).is_floating:
        return
    value = tf.make_ndarray(node.attr["value"].tensor)
    count = int(np.count_nonzero(np.isnan(value)))
    if count and value.size > 1:
        raise NonFiniteError(
            f'the weight "{node.name}" of the model holds NaN in {count} of {value.size} elements: '
            "train it again, or take an earlier checkpoint"
        )
