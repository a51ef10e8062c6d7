"""What both engine scripts train: conv, average pool, dense, on data with a learnable label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

import graphquant_qat as amct

v1 = tf.compat.v1


def logits(x: tf.Tensor) -> tf.Tensor:
    """[N, 3] from [N, 8, 8, 2]."""
    weight = v1.get_variable("conv/weights", [3, 3, 2, 4])
    y = tf.nn.relu(tf.nn.conv2d(x, weight, 1, "SAME", name="conv/Conv2D"))
    y = tf.nn.avg_pool2d(y, 2, 2, "VALID", name="pool/AvgPool")
    weight = v1.get_variable("dense/weights", [64, 3])
    return tf.matmul(tf.reshape(y, [-1, 64]), weight, name="dense/MatMul")


def loss(x: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean cross entropy, []."""
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits(x))
    )


def data(count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Images whose brightness of one corner is the label, and the labels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, count)
    x = random.normal(size=(count, 8, 8, 2)).astype(np.float32)
    x[:, :4, :4, 0] += 2.0 * labels[:, None, None]
    return x, labels.astype(np.int32)


def write_config(folder: Path) -> tuple[str, str]:
    """The configuration of the plain graph, and where the record goes."""
    graph = tf.Graph()
    with graph.as_default():
        logits(v1.placeholder(tf.float32, [None, 8, 8, 2]))
    config_file = str(folder / "config.json")
    amct.create_quant_retrain_config(config_file, graph)
    return config_file, str(folder / "record.txt")
