"""Sessions that compute on the CPU, whatever devices there are."""

from __future__ import annotations

import tensorflow as tf

v1 = tf.compat.v1


def cpu_session(graph: tf.Graph, *, rewritten: bool = True) -> tf.compat.v1.Session:
    """A session on `graph` without GPUs, which also runs ops that were placed on one.

    Args:
        graph: The graph.
        rewritten: Whether TensorFlow may fuse ops and fold constants before it runs them.
    """
    config = v1.ConfigProto(device_count={"GPU": 0}, allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = not rewritten
    if not rewritten:
        config.graph_options.optimizer_options.opt_level = v1.OptimizerOptions.L0
    return v1.Session(graph=graph, config=config)
