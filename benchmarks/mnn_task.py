"""A task for weight-only quantisation, and the training of its networks."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

import graphquant_qat as amct
from graphquant_wq import WeightQuantizer, distillation_loss, reestimate_batch_norm

BATCH = 64
OUTPUT = "probabilities"
_folder = tempfile.TemporaryDirectory()


class Task(NamedTuple):
    """Images to tell apart, a network, and its budget; both trainings use Adam, batches of 64.

    Attributes:
        data: Gives train_images, train_labels, test_images and test_labels, the same ones always.
        logits: Builds the network: (images, whether batch norm takes the batch's statistics).
        rate: The learning rate, by the share of the steps that are done.
        epochs: Of the float training.
        fine_tuning_epochs: Of the training from its checkpoint.
        reestimation_epochs: Whose batches batch norm is re-estimated from.
    """

    data: Callable[[], Any]
    logits: Callable[[tf.Tensor, bool], tf.Tensor]
    rate: Callable[[float], float]
    epochs: int
    fine_tuning_epochs: int
    reestimation_epochs: int

    def accuracy(self, probabilities: np.ndarray) -> float:
        """Share of the test images whose most probable class is the right one."""
        return float(np.mean(probabilities.argmax(1) == self.data().test_labels))


class Network:
    """The network of `task`, in a graph and a session of its own.

    Args:
        task: The task.
        training: Whether batch norm takes the statistics of the batch.
        bits: Bits of the weights; ``None`` leaves them float, ``"int8"`` is quantisation-aware
            training of activations and weights.
        dampened: Whether `dampening_loss` is added, by a share that grows to 0.1.
        step_ratio: Steps of a weight's grid that count as 1 for Adam; ``None`` for no step units.
        teacher: Frozen float network whose answers are half of the loss.
        options: Further arguments of `WeightQuantizer`.
    """

    def __init__(
        self,
        task: Task,
        training: bool,
        bits: int | str | None = None,
        dampened: bool = False,
        step_ratio: float | None = None,
        teacher: tf.GraphDef | None = None,
        **options: Any,
    ):
        self.task = task
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.set_random_seed(0)
            shape = task.data().train_images.shape[1:]
            self.images = tf.placeholder(tf.float32, [None, *shape], "images")
            self.labels = tf.placeholder(tf.int64, [None], "labels")
            logits = task.logits(self.images, training)
            self.probabilities = tf.nn.softmax(logits, name=OUTPUT)
            tf.losses.sparse_softmax_cross_entropy(self.labels, logits)
            self.weights = [v for v in tf.trainable_variables() if v.shape.rank > 1]
            self.variables = tf.train.Saver()
            self.quantizer = None
            in_step_units = functools.partial(amct.in_step_units, graph=self.graph)
            if bits == "int8":
                with tempfile.TemporaryDirectory() as folder:
                    config, record = f"{folder}/config.json", f"{folder}/record.txt"
                    amct.create_quant_retrain_config(config, self.graph)
                    amct.create_quant_retrain_model(self.graph, config, record)
            elif bits is not None:
                self.quantizer = WeightQuantizer(self.graph, bits, **options)
                in_step_units = self.quantizer.in_step_units
            self.saver = tf.train.Saver(max_to_keep=None)
            if training:
                self.rate = tf.placeholder(tf.float32, [])
                self.done = tf.placeholder(tf.float32, [])
                loss = tf.losses.get_total_loss()
                if dampened:
                    loss += (
                        0.05 * (1 - tf.cos(math.pi * self.done)) * self.quantizer.dampening_loss()
                    )
                if teacher is not None:
                    loss = 0.5 * loss + 0.5 * distillation_loss(teacher, [OUTPUT])
                optimizer = tf.train.AdamOptimizer(self.rate)
                if step_ratio is not None:
                    optimizer = in_step_units(optimizer, ratio=step_ratio)
                with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                    self.step = optimizer.minimize(loss)
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
        steps = epochs * (len(self.task.data().train_images) // BATCH)
        batches = (feed for _ in range(epochs) for feed in self._epoch(random))
        for number, feed in enumerate(batches):
            done = number / steps
            self.session.run(self.step, {**feed, self.rate: self.task.rate(done), self.done: done})
            if self.quantizer is not None:
                self.quantizer.update(self.session)

    def reestimate(self, seed: int) -> None:
        """Re-estimate the batch norm over training batches."""
        random = np.random.default_rng(seed + 1000)
        epochs = range(self.task.reestimation_epochs)
        reestimate_batch_norm(self.session, (feed for _ in epochs for feed in self._epoch(random)))

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

    def accuracy(self) -> float:
        """Accuracy on the test images."""
        feed = {self.images: self.task.data().test_images}
        return self.task.accuracy(self.session.run(self.probabilities, feed))

    def _draw(self, seed: int) -> None:
        """First values of the weights, which differ from seed to seed."""
        random = np.random.default_rng(seed)
        for variable in self.weights:
            shape = variable.shape.as_list()
            fan = np.prod(shape[:-1]) + np.prod(shape[:-2]) * shape[-1]
            limit = np.sqrt(6 / fan)
            variable.load(random.uniform(-limit, limit, shape).astype(np.float32), self.session)

    def _epoch(self, random: np.random.Generator) -> Iterator[dict[Any, Any]]:
        known = self.task.data()
        order = random.permutation(len(known.train_images))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[first : first + BATCH]
            yield {self.images: known.train_images[batch], self.labels: known.train_labels[batch]}


@functools.cache
def float_checkpoint(task: Task, seed: int) -> str:
    """A checkpoint of the trained float network."""
    network = _float_trainer(task)
    network.train(task.epochs, seed)
    return network.save()


@functools.cache
def float_accuracies(task: Task, seed: int) -> tuple[float, float]:
    """Accuracy of that checkpoint, and after it had the epochs of fine-tuning as well."""
    start = float_checkpoint(task, seed)
    trainer = _float_trainer(task)
    trainer.train(task.fine_tuning_epochs, seed, start)
    network = _float_network(task)
    found = []
    for checkpoint in (start, trainer.save()):
        network.restore(checkpoint)
        found.append(network.accuracy())
    return found[0], found[1]


@functools.cache
def _float_trainer(task: Task) -> Network:
    return Network(task, training=True)


@functools.cache
def _float_network(task: Task) -> Network:
    return Network(task, training=False)


def cosine(highest: float, done: float) -> float:
    """A rate that falls from `highest` to zero."""
    return highest * (1 + math.cos(math.pi * done)) / 2
