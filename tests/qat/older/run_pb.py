"""Runs a frozen graph in the TensorFlow that this Python has: run_pb.py graph.pb x.npy output.npy.

It knows nothing of graphquant, and runs in Python 3.7.
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow.compat.v1 as tf


def main(pb, fed, result, output):
    graph_def = tf.GraphDef()
    with open(pb, "rb") as file:
        graph_def.ParseFromString(file.read())
    with tf.Graph().as_default(), tf.Session() as session:
        (tensor,) = tf.import_graph_def(graph_def, return_elements=[output], name="")
        np.save(result, session.run(tensor, {"x:0": np.load(fed)}))
    print(tf.VERSION)


main(*sys.argv[1:])
