"""The training loop. It is the same for the float network and for the fake-quantised one."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from data import Digits
from network import Network
from rich.console import Console
from rich.progress import track

BATCH = 64


class Start(NamedTuple):
    """A checkpoint to start from, and the saver of the variables that are in it."""

    saver: tf.train.Saver
    checkpoint: str


def train(
    network: Network,
    digits: Digits,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    checkpoint: str,
    start: Start | None = None,
    title: str = "training",
) -> None:
    """Train `network` with Adam, its learning rate falling to zero, and save it to `checkpoint`."""
    batches = len(digits.train_images) // BATCH
    random = np.random.default_rng(seed)
    with network.graph.as_default():
        step = tf.train.get_or_create_global_step()
        rate = tf.train.cosine_decay(learning_rate, step, max(1, epochs * batches))
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = tf.train.AdamOptimizer(rate).minimize(network.loss, step)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            if start is not None:
                start.saver.restore(session, start.checkpoint)
            for _ in progress(epochs, title):
                order = random.permutation(len(digits.train_images))[: batches * BATCH]
                for batch in order.reshape(batches, BATCH):
                    feed = {
                        network.images: digits.train_images[batch],
                        network.labels: digits.train_labels[batch],
                    }
                    session.run(train_op, feed)
            tf.train.Saver().save(session, checkpoint)


def progress(epochs: int, title: str) -> Iterable[int]:
    """The epochs, with a bar on stderr when that is a terminal."""
    return track(
        range(epochs),
        title,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
