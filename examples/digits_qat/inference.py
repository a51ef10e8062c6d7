"""Inference with a trained network: its predictions, and its frozen graph."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf
from network import OUTPUT, Network


def predict(network: Network, session: tf.Session, images: np.ndarray) -> np.ndarray:
    """Probabilities float32 [N, 10]."""
    return session.run(network.probabilities, {network.images: images})


def freeze(network: Network, session: tf.Session, path: str) -> None:
    """Write the graph with its variables turned into constants."""
    frozen = tf.graph_util.convert_variables_to_constants(
        session, network.graph.as_graph_def(), [OUTPUT]
    )
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(frozen.SerializeToString())
