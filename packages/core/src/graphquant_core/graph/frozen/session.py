"""Sessions that compute on the CPU, whatever devices there are."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

v1 = tf.compat.v1


def cpu_session(graph: tf.Graph, *, rewritten: bool = True) -> tf.compat.v1.Session:
    """A session on `graph` without GPUs, which also runs ops that were placed on one.

    Args:
        graph: The graph.
        rewritten: Whether TensorFlow may fuse ops and fold constants before it runs them. Where a
            depthwise convolution has explicit padding it fuses none: with oneDNN, TensorFlow 2.21
            ends the process when it fuses that one with its bias.
    """
    config = v1.ConfigProto(device_count={"GPU": 0}, allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = not rewritten
    if any(_explicitly_padded(op) for op in graph.get_operations()):
        config.graph_options.rewrite_options.remapping = RewriterConfig.OFF
    if not rewritten:
        config.graph_options.optimizer_options.opt_level = v1.OptimizerOptions.L0
    return v1.Session(graph=graph, config=config)


def _explicitly_padded(op: tf.Operation) -> bool:
    return op.type == "DepthwiseConv2dNative" and op.get_attr("padding") == b"EXPLICIT"
