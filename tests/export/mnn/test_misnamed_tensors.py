"""What MNN computes before a Reshape that it follows in TensorFlow, and where its values are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_export.post_training import quantize_post_training
from graphquant_export.targets.mnn.misnamed_tensors import NamedOp, misnamed_tensors
from graphquant_export.targets.target import MNN
from graphquant_export.verification import verify

v1 = tf.compat.v1
BATCH, ROWS, UNITS = 4, 6, 9


def activations() -> dict[str, Callable[[Any], Any]]:
    """What may follow a dense layer that is brought to three axes."""
    relu, leaky = tf.nn.relu, tf.nn.leaky_relu
    return {
        "relu": relu,
        "relu6": tf.nn.relu6,
        "leaky": leaky,
        "neg": tf.negative,
        "leaky_neg": lambda y: -leaky(y),
        "relu_neg": lambda y: -relu(y),
        "leaky_twice": lambda y: leaky(tf.reshape(leaky(y), [-1, ROWS * UNITS])),
        "relu_of_other_shape": lambda y: relu(tf.reshape(y, [-1, 2, 3, UNITS])),
        "tanh": tf.tanh,
    }


def dense(name: str, x: tf.Tensor, rows: int = ROWS) -> tf.Tensor:
    random = np.random.default_rng(list(name.encode()))
    weight = random.normal(size=(12, UNITS)).astype(np.float32)
    bias = random.normal(size=UNITS).astype(np.float32)
    y = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, 12]), weight, name=name), bias)
    return tf.reshape(y, [-1, rows, UNITS])


def samples() -> dict[str, np.ndarray]:
    x = np.random.default_rng(7).normal(size=(BATCH, ROWS, 12))
    return {"x": x.astype(np.float32)}


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize("calibrated", [False, True])
def test_a_layer_is_compared_where_its_values_are(tmp_path, calibrated):
    """Whatever MNN merged into it or computes before its Reshape: no layer is blamed."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, ROWS, 12], name="x")
        for name, activation in activations().items():
            tf.identity(activation(dense(name, x)), name=f"{name}/result")
    outputs = [f"{name}/result" for name in activations()]
    model, feeds = graph.as_graph_def(), samples()
    record = quantize_post_training(model, outputs, feeds)
    given = {"calibration": feeds} if calibrated else {}
    artifact = MNN.export(model, outputs, record, tmp_path / "m", **given)
    found = verify(artifact, feeds, layers=True)
    assert found.ok(), found.problems()
    compared = {row.layer: row.found for row in found.layers}
    assert compared.keys() == set(activations())
    assert max(row.mean for row in compared.values() if row) < 1e-3
    missing = [name for name, row in compared.items() if row is None]
    assert missing == []


@pytest.mark.usefixtures("mnn")
def test_a_layer_that_cannot_be_brought_to_its_shape_is_not_compared(tmp_path):
    """Of two sizes that only the feeds know, MNN's tensor says none: the row says it is hidden."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, None, 12], name="x")
        y = dense("l", x, 1)
        y = tf.reshape(y, tf.stack([tf.shape(x)[0], tf.shape(x)[1], UNITS]))
        tf.identity(-tf.nn.relu(y), name="out")
    model, feeds = graph.as_graph_def(), samples()
    record = quantize_post_training(model, ["out"], feeds)
    artifact = MNN.export(model, ["out"], record, tmp_path / "m")
    found = verify(artifact, feeds, layers=True)
    assert found.ok(), found.problems()
    ((layer, compared),) = ((row.layer, row.found) for row in found.layers)
    assert layer == "l"
    assert compared is None


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize("name", ["leaky", "leaky_neg", "relu_neg", "neg"])
def test_an_output_that_mnn_overtakes_is_refused(tmp_path, name):
    """Its tensor would hold what is computed of it."""
    with tf.Graph().as_default() as graph:
        y = dense("l", v1.placeholder(tf.float32, [None, ROWS, 12], name="x"))
        tf.identity(activations()[name](y), name="out")
        tf.identity(y, name="hidden")
    model = graph.as_graph_def()
    record = quantize_post_training(model, ["hidden", "out"], samples())
    with pytest.raises(UnsupportedLayerError, match='output "hidden" is not in the MNN model'):
        MNN.export(model, ["hidden", "out"], record, tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("mnn")
def test_an_output_that_a_copy_of_it_overtakes_is_right(tmp_path):
    """One that is taken as floats, too, by way of ops that return the same."""
    with tf.Graph().as_default() as graph:
        y = dense("l", v1.placeholder(tf.float32, [None, ROWS, 12], name="x"))
        tf.identity(tf.nn.leaky_relu(y), name="out")
        tf.identity(y.op.inputs[0], name="hidden")
    model, feeds, outputs = graph.as_graph_def(), samples(), ["hidden", "out"]
    record = quantize_post_training(model, outputs, feeds)
    artifact = MNN.export(model, outputs, record, tmp_path / "m", calibration=feeds)
    found = verify(artifact, feeds, layers=True)
    assert found.ok(), found.problems()
    assert max(output.reference.mean for output in found.outputs) < 0.05


def test_names_that_stayed_where_they_were_are_told():
    """The row of a Neg and a Reshape, exchanged; the last name, and any other file's, are right."""
    ops = [
        NamedOp("x", None, ("x",)),
        NamedOp("layer", "x", ("layer",)),
        NamedOp("shape", "layer", ("shape",)),
        NamedOp("out", "shape", ("out",)),
    ]
    assert misnamed_tensors(ops) == {}
    moved = [*ops[:2], NamedOp("out", "layer", ("shape",)), NamedOp("shape", "shape", ("out",))]
    assert misnamed_tensors(moved) == {"shape": "out"}
    copied = [*ops[:2], NamedOp("y/as_float_1", "layer", ("shape",)), moved[3]]
    assert misnamed_tensors(copied) == {"shape": "layer"}
    merged = [ops[0], NamedOp("layer", "x", ("shape",), merged=True), moved[3]]
    assert misnamed_tensors(merged) == {"shape": None}
