"""A loss that draws weights to the grid, against their oscillation around its thresholds."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.exceptions import GraphStateError
from graphquant_core.graph import GraphView
from graphquant_core.graph.guards import check_extensible
from graphquant_wq.graph.records import GraphRecord


def dampening_loss(graph: tf.Graph, record: GraphRecord) -> tf.Tensor:
    """Σ (sg(ŵ) - w)² over the weights w of `record`, each once: a float32 scalar in `graph`.

    ŵ is w on the grid, sg stops the gradient, which is therefore 2 (w - ŵ).

    Raises:
        FinalizedGraphError: The graph is finalised.
        GraphStateError: The layers take constants; there is nothing left to train.

    Source: Nagel et al., Overcoming Oscillations in Quantization-Aware Training, 2022, eq. 7,
    without the clipping: weights beyond the grid are drawn back, too.
    """
    check_extensible(GraphView(graph))
    if record.stripped:
        raise GraphStateError("strip_wq_ops() was called: the graph has no weights left to train")
    # Layers that share a weight may each read it, but they share what it is on the grid.
    pairs = {weight.output: weight.weight for weight in record.weights.values()}
    with graph.as_default(), tf.name_scope("weight_dampening"):
        distances = []
        for output, weight in pairs.items():
            on_grid = tf.stop_gradient(graph.get_tensor_by_name(output))
            distance = on_grid - graph.get_tensor_by_name(weight)
            distances.append(tf.reduce_sum(tf.square(distance)))
        return tf.add_n(distances)
