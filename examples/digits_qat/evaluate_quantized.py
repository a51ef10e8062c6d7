"""Run the quantised model as whoever receives it would: with TensorFlow and NumPy, nothing else.

python evaluate_quantized.py MODEL.pb IMAGES.npy PROBABILITIES.npy
"""

from __future__ import annotations

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # same numbers on every processor, and no notice of it

import numpy as np
import tensorflow.compat.v1 as tf


def main(model: str, images: str, probabilities: str) -> None:
    """Write what `model` makes of `images`."""
    graph_def = tf.GraphDef()
    with open(model, "rb") as file:
        graph_def.ParseFromString(file.read())
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        feed = {graph.get_tensor_by_name("images:0"): np.load(images)}
        np.save(probabilities, session.run("probabilities:0", feed))


if __name__ == "__main__":
    main(*sys.argv[1:])
