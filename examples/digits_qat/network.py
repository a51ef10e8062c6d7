"""The network: two convolutions, a depthwise one, average pooling and a dense layer."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow.compat.v1 as tf

MOMENTUM = 0.9
OUTPUT = "probabilities"


class Network(NamedTuple):
    """A graph and the tensors that a training loop needs."""

    graph: tf.Graph
    images: tf.Tensor
    labels: tf.Tensor
    loss: tf.Tensor
    probabilities: tf.Tensor


def build(training: bool, seed: int = 0) -> Network:
    """A new graph with the network in it, batch normalisation in training or inference mode."""
    graph = tf.Graph()
    with graph.as_default():
        tf.set_random_seed(seed)
        images = tf.placeholder(tf.float32, [None, 8, 8, 1], name="images")
        labels = tf.placeholder(tf.int64, [None], name="labels")
        with tf.variable_scope("conv1"):
            x = tf.nn.conv2d(images, weights([3, 3, 1, 8]), strides=1, padding="SAME")
            x = tf.nn.relu(batch_norm(x, training))
        with tf.variable_scope("conv2"):
            x = tf.nn.conv2d(x, weights([3, 3, 8, 16]), strides=2, padding="SAME")
            x = tf.nn.relu(batch_norm(x, training))
        with tf.variable_scope("conv3"):
            x = tf.nn.depthwise_conv2d(x, weights([3, 3, 16, 1]), [1, 1, 1, 1], padding="SAME")
            x = tf.nn.relu(batch_norm(x, training))
        x = tf.nn.avg_pool2d(x, ksize=2, strides=2, padding="VALID", name="pool/AvgPool")
        x = tf.reshape(x, [-1, 64])
        with tf.variable_scope("dense"):
            bias = tf.get_variable("bias", [10], initializer=tf.zeros_initializer())
            logits = tf.nn.bias_add(tf.matmul(x, weights([64, 10])), bias)
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        probabilities = tf.nn.softmax(logits, name=OUTPUT)
    return Network(graph, images, labels, loss, probabilities)


def weights(shape: list[int]) -> tf.Variable:
    """The trained weights of the layer whose variable scope is open."""
    return tf.get_variable("weights", shape, initializer=tf.glorot_uniform_initializer())


def batch_norm(x: tf.Tensor, training: bool) -> tf.Tensor:
    """Batch normalisation; its moving averages are brought up to date by UPDATE_OPS."""
    with tf.variable_scope("batch_norm"):
        shape = [x.shape[-1]]
        gamma = tf.get_variable("gamma", shape, initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", shape, initializer=tf.zeros_initializer())
        mean = tf.get_variable("mean", shape, initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable(
            "variance", shape, initializer=tf.ones_initializer(), trainable=False
        )
        if not training:
            return tf.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False)[0]
        y, batch_mean, batch_variance = tf.nn.fused_batch_norm(x, gamma, beta)
        for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
            step = (moving - batch) * (1 - MOMENTUM)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign_sub(moving, step))
        return y
