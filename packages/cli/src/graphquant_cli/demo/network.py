"""A network as a script of TensorFlow 1 writes it."""

from __future__ import annotations

import attrs
import tensorflow as tf

v1 = tf.compat.v1

OUTPUT = "probabilities"


@attrs.frozen(eq=False)
class Network:
    """A graph, and the tensors that a training loop needs."""

    graph: tf.Graph
    images: tf.Tensor
    labels: tf.Tensor
    loss: tf.Tensor
    probabilities: tf.Tensor


def build_network() -> Network:
    """Two convolutions, a pooling and a dense layer, in a graph of their own."""
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(0)
        images = v1.placeholder(tf.float32, [None, 8, 8, 1], "images")
        labels = v1.placeholder(tf.int64, [None], "labels")
        x = tf.nn.conv2d(images, _weights("conv1", [3, 3, 1, 8]), 1, "SAME", name="conv1")
        x = tf.nn.relu(tf.nn.bias_add(x, _bias("conv1", 8)))
        x = tf.nn.conv2d(x, _weights("conv2", [3, 3, 8, 16]), 2, "SAME", name="conv2")
        x = tf.nn.relu(tf.nn.bias_add(x, _bias("conv2", 16)))
        x = tf.reshape(tf.nn.avg_pool2d(x, 2, 2, "VALID", name="pool"), [-1, 64])
        logits = tf.matmul(x, _weights("dense", [64, 10]), name="dense")
        logits = tf.nn.bias_add(logits, _bias("dense", 10))
        loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
        probabilities = tf.nn.softmax(logits, name=OUTPUT)
    return Network(graph, images, labels, loss, probabilities)


def _weights(layer: str, shape: list[int]) -> tf.Variable:
    return v1.get_variable(f"{layer}/weights", shape, initializer=v1.glorot_uniform_initializer())


def _bias(layer: str, channels: int) -> tf.Variable:
    return v1.get_variable(f"{layer}/bias", [channels], initializer=v1.zeros_initializer())
