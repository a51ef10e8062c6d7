"""The networks whose training step and inference are timed, and the chain whose rewriting is."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from benchmarks.layers import conv, dense, depthwise

CLASSES = 10
MOBILENET_BLOCKS = (
    (16, 1),
    (32, 2),
    (32, 1),
    (64, 2),
    (64, 1),
    (128, 2),
    *[(128, 1)] * 5,
    (256, 2),
    (256, 1),
)
RESNET50_BLOCKS = (3, 4, 6, 3)
RESNET_BLOCKS = ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1))


def mobilenet_v1_quarter(images: tf.Tensor, training: bool = True) -> tf.Tensor:
    """Logits [N, 10] of MobileNetV1 at a width of 0.25."""
    with tf.variable_scope("conv"):
        x = tf.nn.relu6(conv(images, 8, 3, 2, training))
    for number, (channels, stride) in enumerate(MOBILENET_BLOCKS):
        with tf.variable_scope(f"block{number}/depthwise"):
            x = tf.nn.relu6(depthwise(x, stride, training))
        with tf.variable_scope(f"block{number}/pointwise"):
            x = tf.nn.relu6(conv(x, channels, 1, training=training))
    with tf.variable_scope("dense"):
        return dense(tf.reduce_mean(x, [1, 2]), CLASSES)


def resnet18_half(images: tf.Tensor) -> tf.Tensor:
    """Logits [N, 10] of ResNet-18 for small images, at half its width."""
    with tf.variable_scope("conv"):
        x = tf.nn.relu(conv(images, 32, 3))
    for number, (channels, stride) in enumerate(RESNET_BLOCKS):
        with tf.variable_scope(f"block{number}"):
            x = residual(x, channels, stride)
    with tf.variable_scope("dense"):
        return dense(tf.reduce_mean(x, [1, 2]), CLASSES)


def resnet50(images: tf.Tensor, training: bool = True) -> tf.Tensor:
    """Logits [N, 10] of ResNet-50."""
    with tf.variable_scope("conv"):
        x = tf.nn.relu(conv(images, 64, 7, 2, training))
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for stage, blocks in enumerate(RESNET50_BLOCKS):
        for number in range(blocks):
            stride = 2 if stage and not number else 1
            with tf.variable_scope(f"stage{stage}/block{number}"):
                x = bottleneck(x, 64 << stage, stride, training)
    with tf.variable_scope("dense"):
        return dense(tf.reduce_mean(x, [1, 2]), CLASSES)


def bottleneck(x: tf.Tensor, channels: int, stride: int, training: bool) -> tf.Tensor:
    """relu(x + 1x1, 3x3 and 1x1 convolutions of x), four times `channels` in the end."""
    shortcut = x
    if x.shape[-1] != 4 * channels:
        with tf.variable_scope("shortcut"):
            shortcut = conv(x, 4 * channels, 1, stride, training)
    with tf.variable_scope("conv1"):
        y = tf.nn.relu(conv(x, channels, 1, training=training))
    with tf.variable_scope("conv2"):
        y = tf.nn.relu(conv(y, channels, 3, stride, training))
    with tf.variable_scope("conv3"):
        return tf.nn.relu(conv(y, 4 * channels, 1, training=training) + shortcut)


def residual(x: tf.Tensor, channels: int, stride: int = 1, training: bool = True) -> tf.Tensor:
    """relu(x + two convolutions of x), x through a 1x1 convolution when its size changes."""
    shortcut = x
    if stride != 1 or x.shape[-1] != channels:
        with tf.variable_scope("shortcut"):
            shortcut = conv(x, channels, 1, stride, training)
    with tf.variable_scope("conv1"):
        y = tf.nn.relu(conv(x, channels, 3, stride, training))
    with tf.variable_scope("conv2"):
        return tf.nn.relu(conv(y, channels, 3, training=training) + shortcut)


def residual_chain(operations: int) -> tf.Graph:
    """A graph of about `operations` ops: residual blocks one after the other, no gradients."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 8], "images")
        number = 0
        while len(graph.get_operations()) < operations:
            with tf.variable_scope(f"block{number}"):
                x = residual(x, 8)
            number += 1
    return graph
