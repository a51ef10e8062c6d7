"""Weights of 4 bits by the plugin's strategy, trained, stripped, and converted by MNN."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from graphquant_core import load_registry
from graphquant_export.targets.mnn import mnn_quantize
from graphquant_wq import WeightQuantizer, strip_wq_ops

BITS = 4


def build() -> dict[str, Any]:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(2)
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], "x")
        labels = tf.placeholder(tf.int64, [None], "labels")
        y = tf.nn.conv2d(x, tf.get_variable("kernel", [3, 3, 3, 8]), 2, "SAME", name="conv")
        # A channel that is dead, and one whose largest weight is below MNN's smallest scale.
        y = tf.nn.conv2d(tf.nn.relu(y), kernel_with_small_channels(), 1, "SAME", name="small")
        y = tf.reshape(tf.nn.relu(y), [-1, 64])
        logits = tf.matmul(y, tf.get_variable("weights", [64, 2]), name="dense")
        tf.nn.softmax(logits, name="probabilities")
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    return {"graph": graph, "x": x, "labels": labels, "loss": loss}


def kernel_with_small_channels() -> tf.Variable:
    kernel = np.random.default_rng(1).normal(size=(1, 1, 8, 4)).astype(np.float32)
    kernel *= np.array([1, 0, 1e-6, 1e-5], np.float32)
    return tf.get_variable("small_kernel", initializer=kernel, trainable=False)


def main() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 2, 128)
    data = random.random((128, 8, 8, 3), np.float32)
    data[classes == 1, :, 4:] += 0.5
    network = build()
    quantizer = WeightQuantizer(network["graph"], bits=BITS, strategy="power_of_two")
    with network["graph"].as_default():
        step = tf.train.AdamOptimizer(5e-3).minimize(network["loss"])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            quantizer.init(session)
            feeds = {network["x"]: data, network["labels"]: classes}
            losses = []
            for _ in range(30):
                losses.append(float(session.run([step, network["loss"]], feeds)[1]))
                quantizer.update(session)
            tuned = session.run("probabilities:0", feeds)
            strip_wq_ops(network["graph"])
            frozen = tf.graph_util.convert_variables_to_constants(
                session, network["graph"].as_graph_def(), ["probabilities"]
            )
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(frozen, name="")
        found = session.run("probabilities:0", {"x:0": data})
        ports = [graph.get_operation_by_name(name).inputs[1] for name in ("conv", "small", "dense")]
        weights = session.run(ports)
    report: dict[str, Any] = {
        "losses": losses,
        "same": float(np.abs(found - tuned).max()),
        "scales": [],
        "steps_off": [],
        "converted": None,
    }
    for weight in weights:
        rows = np.reshape(weight, [-1, weight.shape[-1]]).T
        stored = mnn_quantize(rows, BITS, asymmetric=False)
        alive = stored.scale > 1e-6
        report["scales"].append([float(scale) for scale in stored.scale[alive]])
        report["steps_off"].append(float(np.abs(stored.values() - rows).max()))
    exporter = load_registry().exporter("mnn")
    # It converts with MNN itself, and raises when a stored weight differs from the frozen one.
    artifact = exporter.export(frozen, ["probabilities"], quantizer.compress_params(), "model")
    report["converted"] = artifact.paths[0].stat().st_size
    print(json.dumps(report))


if __name__ == "__main__":
    main()
