"""The float network: training it, and what it predicts. Nothing here knows of quantisation."""

from __future__ import annotations

import network
import numpy as np
import tensorflow.compat.v1 as tf
from data import Digits
from files import Files
from inference import freeze, predict
from training import train

LEARNING_RATE = 3e-3


def train_float(digits: Digits, files: Files, epochs: int, seed: int) -> None:
    """Train the network from scratch and keep its checkpoint."""
    train(
        network.build(training=True, seed=seed),
        digits,
        epochs=epochs,
        learning_rate=LEARNING_RATE,
        seed=seed,
        checkpoint=files.float_checkpoint,
        title="float training",
    )


def evaluate_float(digits: Digits, files: Files) -> np.ndarray:
    """Probabilities of the test images; the frozen graph is written as well."""
    model = network.build(training=False)
    with model.graph.as_default(), tf.Session() as session:
        tf.train.Saver().restore(session, files.float_checkpoint)
        freeze(model, session, files.float_frozen)
        return predict(model, session, digits.test_images)
