"""Digits for weight-only quantisation: the network, its training, and the float checkpoints.

Three convolutions with batch norm, one of them depthwise, average pooling and a dense layer. Both
trainings use Adam with a rate that falls from 5e-3 to zero along a cosine, batches of 64.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks.layers import batch_norm
from graphquant_wq import WeightQuantizer, reestimate_batch_norm

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "digits_qat"))

import data

BATCH = 64
RATE = 5e-3
EPOCHS, FINE_TUNING_EPOCHS, REESTIMATION_EPOCHS = 60, 30, 10
OUTPUT = "probabilities"

digits = functools.cache(data.load)
_folder = tempfile.TemporaryDirectory()


class Network:
    """The network with `channels` in its first layer, in a graph and a session of its own.

    Args:
        channels: Channels of the first convolution; the others have twice as many.
        training: Whether batch norm takes the statistics of the batch.
        bits: Bits of the weights; ``None`` leaves them float.
        options: Further arguments of `WeightQuantizer`.
    """

    def __init__(self, channels: int, training: bool, bits: int | None = None, **options: Any):
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.set_random_seed(0)
            self.images = tf.placeholder(tf.float32, [None, 8, 8, 1], "images")
            self.labels = tf.placeholder(tf.int64, [None], "labels")
            logits = _logits(self.images, channels, training)
            self.probabilities = tf.nn.softmax(logits, name=OUTPUT)
            loss = tf.losses.sparse_softmax_cross_entropy(self.labels, logits)
            self.variables = tf.train.Saver()
            self.quantizer = None
            if bits is not None:
                self.quantizer = WeightQuantizer(self.graph, bits, **options)
            self.saver = tf.train.Saver()
            if training:
                self.rate = tf.placeholder(tf.float32, [])
                with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                    self.step = tf.train.AdamOptimizer(self.rate).minimize(loss)
            self.initializer = tf.global_variables_initializer()
        one_thread = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        self.session = tf.Session(graph=self.graph, config=one_thread)

    def train(self, epochs: int, seed: int, start: str | None = None) -> None:
        """Train from the float checkpoint `start`, or from nothing."""
        self.session.run(self.initializer)
        with self.graph.as_default():
            if start is not None:
                self.variables.restore(self.session, start)
            else:
                self._draw(seed)
        if self.quantizer is not None:
            self.quantizer.init(self.session)
        random = np.random.default_rng(seed)
        batches = [feed for _ in range(epochs) for feed in self._epoch(random)]
        for number, feed in enumerate(batches):
            feed[self.rate] = RATE * (1 + np.cos(np.pi * number / len(batches))) / 2
            self.session.run(self.step, feed)
            if self.quantizer is not None:
                self.quantizer.update(self.session)

    def reestimate(self, seed: int) -> None:
        """Re-estimate the batch norm over training batches."""
        random = np.random.default_rng(seed + 1000)
        feeds = (feed for _ in range(REESTIMATION_EPOCHS) for feed in self._epoch(random))
        reestimate_batch_norm(self.session, feeds)

    def save(self) -> str:
        """Prefix of a checkpoint with all variables of the network."""
        with self.graph.as_default():
            return self.saver.save(
                self.session, tempfile.mkdtemp(dir=_folder.name) + "/model", write_meta_graph=False
            )

    def restore(self, checkpoint: str) -> None:
        """Restore what `checkpoint` holds, and let the quantiser read it."""
        with self.graph.as_default():
            self.saver.restore(self.session, checkpoint)
        if self.quantizer is not None:
            self.quantizer.init(self.session)

    def predict(self) -> np.ndarray:
        """Probabilities of the test images, [N, 10]."""
        feed = {self.images: digits().test_images}
        found: np.ndarray = self.session.run(self.probabilities, feed)
        return found

    def _draw(self, seed: int) -> None:
        """First values of the weights, which differ from seed to seed."""
        random = np.random.default_rng(seed)
        for variable in self.graph.get_collection("weights"):
            shape = variable.shape.as_list()
            fan = np.prod(shape[:-1]) + np.prod(shape[:-2]) * shape[-1]
            limit = np.sqrt(6 / fan)
            variable.load(random.uniform(-limit, limit, shape).astype(np.float32), self.session)

    def _epoch(self, random: np.random.Generator) -> Iterator[dict[Any, Any]]:
        known = digits()
        order = random.permutation(len(known.train_images))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[first : first + BATCH]
            yield {self.images: known.train_images[batch], self.labels: known.train_labels[batch]}


@functools.cache
def float_checkpoint(channels: int, seed: int) -> str:
    """A checkpoint of the float network after 60 epochs."""
    network = _float_trainer(channels)
    network.train(EPOCHS, seed)
    return network.save()


@functools.cache
def _float_trainer(channels: int) -> Network:
    return Network(channels, training=True)


def accuracy(probabilities: np.ndarray) -> float:
    """Share of the test images whose most probable class is the right one."""
    return float(np.mean(probabilities.argmax(1) == digits().test_labels))


def _logits(images: tf.Tensor, channels: int, training: bool) -> tf.Tensor:
    with tf.variable_scope("conv1"):
        x = tf.nn.conv2d(images, _weights([3, 3, 1, channels]), strides=1, padding="SAME")
        x = tf.nn.relu(batch_norm(x, training))
    with tf.variable_scope("conv2"):
        x = tf.nn.conv2d(x, _weights([3, 3, channels, 2 * channels]), strides=2, padding="SAME")
        x = tf.nn.relu(batch_norm(x, training))
    with tf.variable_scope("conv3"):
        x = tf.nn.depthwise_conv2d(x, _weights([3, 3, 2 * channels, 1]), [1] * 4, padding="SAME")
        x = tf.nn.relu(batch_norm(x, training))
    x = tf.nn.avg_pool2d(x, ksize=2, strides=2, padding="VALID", name="pool")
    x = tf.reshape(x, [-1, 8 * channels])
    with tf.variable_scope("dense"):
        bias = tf.get_variable("bias", [10], initializer=tf.zeros_initializer())
        return tf.nn.bias_add(tf.matmul(x, _weights([8 * channels, 10])), bias)


def _weights(shape: list[int]) -> tf.Variable:
    variable = tf.get_variable("weights", shape, initializer=tf.glorot_uniform_initializer())
    tf.add_to_collection("weights", variable)
    return variable
