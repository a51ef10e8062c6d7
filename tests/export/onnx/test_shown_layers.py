"""What verify sees of a layer in ONNX Runtime is what its own kernel returned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tensorflow as tf

import graphquant_export as gq
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.targets.onnx import runtime as onnx_runtime
from graphquant_export.targets.onnx import sessions, shown_layers
from graphquant_export.verification import Verification

v1 = tf.compat.v1
LAYERS, WIDTH = 4, 512
ACTIVATIONS = {
    "relu": tf.nn.relu,
    "pooled": lambda x: tf.nn.max_pool2d(tf.nn.relu(x), 3, 1, "SAME"),
    "joined": lambda x: tf.concat([x[..., 4:], x[..., :4]], -1),
}


def model(activation: str) -> LoadedModel:
    """Convolutions wide enough that sums in float32 round otherwise, and a dense layer."""
    random = np.random.default_rng(1)

    def weight(*shape: int) -> tf.Tensor:
        values = random.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
        return tf.constant(values.astype(np.float32))

    with tf.Graph().as_default() as graph:
        x = y = v1.placeholder(tf.float32, [None, 2, 2, WIDTH], "x")
        for index in range(LAYERS):
            inner = tf.nn.conv2d(y, weight(1, 1, WIDTH, WIDTH), 1, "SAME")
            inner = ACTIVATIONS[activation](tf.nn.bias_add(inner, weight(WIDTH, 1)[:, 0]))
            y = (y if index % 3 else x) * 0.5 + inner
        scores = tf.matmul(tf.reduce_mean(y, [1, 2]), weight(WIDTH, 10), name="dense")
        tf.nn.softmax(scores, name="y")
    return LoadedModel(graph.as_graph_def(), ("x",), ("y",))


def verified(activation: str, folder: Path) -> Verification:
    """The model in ONNX Runtime, on what it was quantised with."""
    network = model(activation)
    samples = {"x": np.random.default_rng(0).normal(size=(32, 2, 2, WIDTH)).astype(np.float32)}
    record = gq.quantize(network, samples, "onnx")
    artifact = gq.export(network, record, "onnx", folder / "m")
    return gq.verify(artifact, samples, layers=True)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_the_layers_are_of_the_run_that_gives_the_outputs(activation: str, tmp_path: Path) -> None:
    """An output is exact for them, however many values lie between two codes."""
    found = verified(activation, tmp_path)
    (output,) = found.outputs
    assert output.own.mean < 5e-6
    integers = {row.layer for row in found.executions if row.reason is None}
    rounded = {layer.layer for layer in found.layers if layer.own.step_source == "artifact"}
    assert rounded == integers - {"dense"}
    assert all(layer.own.mean < 0.01 for layer in found.layers)


def test_a_kernel_that_sums_otherwise_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the file is right: here, ONNX Runtime's model has one bias changed."""

    class Changed(sessions.Session):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[arg-type]
            kernels = [node for node in self.optimized.graph.node if node.op_type == "QLinearConv"]
            stored = {tensor.name: tensor for tensor in self.optimized.graph.initializer}
            bias = stored[kernels[3].input[8]]
            values = onnx.numpy_helper.to_array(bias)
            bias.CopyFrom(onnx.numpy_helper.from_array(values + 5000, bias.name))

    monkeypatch.setattr(shown_layers, "Session", Changed)
    monkeypatch.setattr(onnx_runtime, "Session", Changed)
    found = verified("relu", tmp_path)
    named = found.first_divergence()
    assert named is not None
    assert named.layer == "Conv2D_3"
