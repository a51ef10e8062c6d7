"""Mean and variance of what layers give on samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import cpu_session, import_frozen
from graphquant_tune.folded import FoldedLayer, FoldedModel

Feeds = Mapping[str, npt.NDArray[Any]]
Float32Array = npt.NDArray[np.float32]


def layer_moments(
    model: FoldedModel, layers: Sequence[FoldedLayer], batches: Iterable[Feeds]
) -> dict[str, tuple[Float32Array, Float32Array]]:
    """(mean, variance) of each channel of what each of `layers` gives without its bias.

    Args:
        model: The model.
        layers: Some of its layers.
        batches: Feeds by tensor name; their sums are all that is kept.
    """
    graph = import_frozen(model.graph_def)
    with graph.as_default():
        sums = [_sums(graph, layer) for layer in layers]
    totals: list[list[npt.NDArray[np.float64]]] = []
    with cpu_session(graph) as session:
        for feeds in batches:
            found = session.run(sums, feeds)
            if not totals:
                totals = [[np.zeros_like(value, np.float64) for value in row] for row in found]
            for total, row in zip(totals, found, strict=True):
                for place, value in enumerate(row):
                    total[place] += value
    return {layer.name: _moments(*total) for layer, total in zip(layers, totals, strict=True)}


def _sums(graph: tf.Graph, layer: FoldedLayer) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(number of values of a channel, their sum, that of their squares)."""
    x = graph.get_operation_by_name(layer.name).outputs[0]
    rank = x.shape.rank or 0
    axes = [axis for axis in range(rank) if axis != layer.layer.output_channel_axis % rank]
    count = tf.size(x, tf.int64) // tf.shape(x, tf.int64)[layer.layer.output_channel_axis]
    wide = tf.cast(x, tf.float64)
    return (
        tf.cast(count, tf.float64),
        tf.reduce_sum(wide, axes),
        tf.reduce_sum(tf.square(wide), axes),
    )


def _moments(count: Any, total: Any, squares: Any) -> tuple[Float32Array, Float32Array]:
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    return mean.astype(np.float32), variance.astype(np.float32)
