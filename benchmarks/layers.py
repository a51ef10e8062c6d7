"""What the benchmarks' networks are made of, written as a user of tensorflow.compat.v1 does."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


def conv(
    x: tf.Tensor, channels: int, size: int, stride: int = 1, training: bool = True
) -> tf.Tensor:
    """Convolution [size, size] and batch norm."""
    weights = variable("weights", [size, size, x.shape[-1], channels])
    return batch_norm(tf.nn.conv2d(x, weights, strides=stride, padding="SAME"), training)


def depthwise(x: tf.Tensor, stride: int, training: bool = True) -> tf.Tensor:
    """Depthwise convolution 3x3 and batch norm."""
    weights = variable("depthwise_weights", [3, 3, x.shape[-1], 1])
    strides = [1, stride, stride, 1]
    return batch_norm(tf.nn.depthwise_conv2d(x, weights, strides, padding="SAME"), training)


def dense(x: tf.Tensor, units: int) -> tf.Tensor:
    """x [N, C] times a weight [C, units], and a bias."""
    bias = tf.get_variable("bias", [units], initializer=tf.zeros_initializer())
    return tf.nn.bias_add(tf.matmul(x, variable("weights", [x.shape[-1], units])), bias)


def variable(name: str, shape: list[int]) -> tf.Variable:
    """A weight with weight decay."""
    regularizer = tf.keras.regularizers.L2(WEIGHT_DECAY)
    initializer = tf.glorot_uniform_initializer()
    return tf.get_variable(name, shape, initializer=initializer, regularizer=regularizer)


def batch_norm(x: tf.Tensor, training: bool = True) -> tf.Tensor:
    """Fused batch norm; in training mode UPDATE_OPS move its averages."""
    shape = [x.shape[-1]]
    zeros, ones = tf.zeros_initializer(), tf.ones_initializer()
    gamma = tf.get_variable("gamma", shape, initializer=ones)
    beta = tf.get_variable("beta", shape, initializer=zeros)
    mean = tf.get_variable("mean", shape, initializer=zeros, trainable=False)
    variance = tf.get_variable("variance", shape, initializer=ones, trainable=False)
    if not training:
        return tf.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False)[0]
    y, batch_mean, batch_variance = tf.nn.fused_batch_norm(x, gamma, beta)
    for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
        step = (moving - batch) * (1 - MOMENTUM)
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign_sub(moving, step))
    return y
