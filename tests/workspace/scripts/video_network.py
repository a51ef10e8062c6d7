"""A 3-D network with plugins alone: planned, trained, deployed, exported and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

import graphquant_qat as amct
from graphquant_core import load_registry
from graphquant_core.graph import plan_graph
from graphquant_core.graph.frozen import load_graph_def
from graphquant_core.record import read_record
from graphquant_export.integer_reference import integer_reference
from graphquant_export.testing import check_exporter
from graphquant_export.verification import open_artifact, verify

CHANNELS = (6, 8)


def batch_norm(x: tf.Tensor, training: bool) -> tf.Tensor:
    channels = [int(x.shape[-1])]
    gamma = tf.get_variable("gamma", channels, initializer=tf.random_uniform_initializer(-2, 2))
    beta = tf.get_variable("beta", channels, initializer=tf.random_normal_initializer())
    mean = tf.get_variable("mean", channels, initializer=tf.zeros_initializer(), trainable=False)
    variance = tf.get_variable(
        "variance", channels, initializer=tf.ones_initializer(), trainable=False
    )
    if not training:
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
    batch_mean, batch_variance = tf.nn.moments(x, [0, 1, 2, 3])
    for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
        tf.add_to_collection("update_ops", moving.assign(0.8 * moving + 0.2 * batch))
    return tf.nn.batch_normalization(x, batch_mean, batch_variance, beta, gamma, 1e-3)


def build(training: bool) -> dict[str, Any]:
    """Two 3-D convolutions, one with batch norm and one with a bias, and a dense layer."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [None, 6, 8, 8, 2], "video")
        labels = tf.placeholder(tf.int64, [None], "labels")
        y = x
        for index, channels in enumerate(CHANNELS):
            with tf.variable_scope(f"block{index}"):
                weight = tf.get_variable("weight", [3, 3, 3, int(y.shape[-1]), channels])
                y = tf.nn.conv3d(y, weight, [1, 1, 2, 2, 1], "SAME", name="conv")
                if index == 0:
                    y = batch_norm(y, training)
                else:
                    bias = tf.get_variable(
                        "bias", [channels], initializer=tf.random_normal_initializer()
                    )
                    y = tf.nn.bias_add(y, bias)
                y = tf.nn.relu(y)
        y = tf.reduce_mean(y, [1, 2, 3])
        y = tf.matmul(y, tf.get_variable("dense/weight", [CHANNELS[-1], 2]), name="dense/MatMul")
        logits = tf.nn.bias_add(y, tf.get_variable("dense/bias", [2]), name="logits")
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    return {"graph": graph, "x": x, "labels": labels, "logits": logits, "loss": loss}


def configure(graph: tf.Graph, strategy: str) -> None:
    """A configuration whose weights are quantised by `strategy`."""
    amct.create_quant_retrain_config("config.json", graph)
    config = json.loads(Path("config.json").read_text())
    for entry in config.values():
        if isinstance(entry, dict):
            entry["retrain_weight_config"]["algo"] = strategy
    Path("config.json").write_text(json.dumps(config))


def train(data: np.ndarray, classes: np.ndarray) -> list[float]:
    network = build(training=True)
    configure(network["graph"], "power_of_two")
    amct.create_quant_retrain_model(network["graph"], "config.json", "record.txt")
    with network["graph"].as_default():
        with tf.control_dependencies(tf.get_collection("update_ops")):
            step = tf.train.AdamOptimizer(1e-2).minimize(network["loss"])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            feeds = {network["x"]: data, network["labels"]: classes}
            losses = [session.run([step, network["loss"]], feeds)[1] for _ in range(20)]
            tf.train.Saver().save(session, "./trained")
    return [float(loss) for loss in losses]


def freeze(data: np.ndarray) -> tuple[Any, np.ndarray]:
    """The frozen inference graph, and the logits of the live one."""
    network = build(training=False)
    ops = amct.create_quant_retrain_model(network["graph"], "config.json", "record.txt")
    with network["graph"].as_default(), tf.Session() as session:
        tf.train.Saver().restore(session, "./trained")
        session.run(ops[-1])
        simulated = session.run(network["logits"], {network["x"]: data})
        frozen = tf.graph_util.convert_variables_to_constants(
            session, network["graph"].as_graph_def(), ["logits"]
        )
    Path("frozen.pb").write_bytes(frozen.SerializeToString())
    return frozen, simulated


def main() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 2, 64)
    data = random.normal(size=(64, 6, 8, 8, 2)).astype(np.float32)
    data[classes == 1] += 0.4
    plan = plan_graph(build(training=True)["graph"])
    losses = train(data, classes)
    frozen, simulated = freeze(data)
    amct.save_quant_retrain_model("frozen.pb", ["logits"], "record.txt", "model")
    quantized = load_graph_def("model_quantized.pb")
    (exact,) = integer_reference(quantized, ["logits"], {"video": data})
    record = read_record("record.txt")
    npz = load_registry().exporter("npz").export(frozen, ["logits"], record, "model")
    whole = verify(npz, {"video": data}, layers=True)
    arrays = dict(np.load("model.npz"))
    broken = "block1/conv/weight_codes"
    np.savez("model.npz", **(arrays | {broken: arrays[broken] // 2}))
    opened = open_artifact("npz", "model", frozen, ["logits"], record)
    changed = verify(opened, {"video": data}, layers=True).first_divergence()
    folder = Path("checked")
    folder.mkdir()
    exporter = load_registry().exporter("npz")
    checked = check_exporter(exporter, frozen, ["logits"], record, {"video": data}, folder)
    stored = np.load(folder / "second.npz")
    largest = [np.abs(arrays[name]).max() for name in arrays if name.endswith("weight_codes")]
    report = {
        "plan": [[layer.name, layer.op_type, layer.output_channels] for layer in plan.layers],
        "losses": losses,
        "record": {name: [float(s) for s in factors.scale_w] for name, factors in record.items()},
        "ops": [node.op for node in quantized.node],
        "error": float(np.abs(simulated - exact).max() / np.ptp(exact)),
        "right": float((exact.argmax(1) == classes).mean()),
        "npz_agrees": whole.ok(),
        "npz_problems": list(whole.problems()),
        "npz_layers": {layer.layer: layer.execution for layer in whole.layers},
        "npz_changed": None if changed is None else changed.layer,
        "npz_own": [layer.own.mean for layer in checked.layers],
        "npz_values": [name for name in stored if name.endswith("/zero_point")],
        "largest_codes": [int(value) for value in largest],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
