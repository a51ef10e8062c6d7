"""Re-estimation of batch-norm statistics after training: the last step before freezing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, NoLayersError
from graphquant_core.graph import GraphView
from graphquant_core.graph.moving_averages import MovingAverage, find_moving_averages
from graphquant_wq.graph.variables import set_variables


def reestimate_batch_norm(
    sess: tf.compat.v1.Session, feed_dicts: Iterable[Mapping[Any, Any] | None]
) -> int:
    """Sets each moving mean and variance to the mean over the batches of what batches have.

    Training moves the weights on the grid by whole steps, which the moving averages lag behind:
    at few bits they describe a network that is no longer there. Run it on the training graph,
    after training and before the checkpoint is saved; the weights stay as they are. Two hundred
    batches of training data are plenty.

    Args:
        sess: Session on the training graph.
        feed_dicts: What to feed for each batch; ``None`` for a graph that reads its own data,
            as in ``itertools.repeat(None, 200)``.

    Returns:
        Number of moving averages that were set.

    Raises:
        NoLayersError: The graph has no batch norm in training mode whose averages an op updates.
        ConfigError: `feed_dicts` is empty.
    """
    view = GraphView(sess.graph)
    averages = [average for average in find_moving_averages(view) if _is_statistic(average)]
    if not averages:
        raise NoLayersError(
            "graph has no batch norm in training mode with moving averages that an op updates: "
            "give a session on the training graph"
        )
    batches = [average.batch for average in averages]
    sums = [np.zeros(batch.shape.as_list(), np.float64) for batch in batches]
    count = 0
    for feed_dict in feed_dicts:
        values = sess.run(batches, feed_dict)
        sums = [total + value for total, value in zip(sums, values, strict=True)]
        count += 1
    if not count:
        raise ConfigError("feed_dicts is empty: at least one batch is needed")
    means = {
        average.variable.name: (total / count).astype(average.batch.dtype.as_numpy_dtype)
        for average, total in zip(averages, sums, strict=True)
    }
    set_variables(sess.graph, sess, means)
    return len(means)


def _is_statistic(average: MovingAverage) -> bool:
    """Whether it is a vector that is computed from a batch, not an average of a loss."""
    shape = average.batch.shape
    return bool(shape.rank == 1 and shape.is_fully_defined())
