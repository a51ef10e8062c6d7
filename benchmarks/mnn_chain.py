"""A chain of convolutions, every second one depthwise, with batch norm and a dense layer."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks.layers import conv, dense, depthwise

BATCH, SIZE, CHANNELS, CLASSES = 16, 32, 32, 10
HALVED_AT = (3, 9)


def chain(layers: int) -> tf.Tensor:
    """The loss of a new network with that many layers with a weight, on constant data."""
    random = np.random.default_rng(0)
    data = random.standard_normal((BATCH, SIZE, SIZE, 3)).astype(np.float32)
    x = tf.placeholder_with_default(data, data.shape)
    for number in range(layers - 1):
        stride = 2 if number in HALVED_AT else 1
        with tf.variable_scope(f"layer{number}"):
            x = depthwise(x, stride) if number % 2 else conv(x, CHANNELS, 3, stride)
            x = tf.nn.relu(x)
    with tf.variable_scope("dense"):
        logits = dense(tf.reduce_mean(x, [1, 2]), CLASSES)
    labels = np.arange(BATCH) % CLASSES
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
