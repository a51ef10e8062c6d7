"""A batch norm that the record doesn't fold, behind a layer that MNN computes with floats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_export import export, load_model, read_record, verify

v1 = tf.compat.v1

X = np.random.default_rng(0).normal(size=(32, 8, 8, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def _control_flow_of_tensorflow_1() -> Iterator[None]:
    v1.disable_control_flow_v2()
    yield
    v1.enable_control_flow_v2()


def _conv(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, v1.get_variable("weight", [3, 3, 4, 8]), 1, "SAME", name="layer")


def _depthwise(x: tf.Tensor) -> tf.Tensor:
    weight = v1.get_variable("weight", [3, 3, 4, 1])
    return v1.nn.depthwise_conv2d_native(x, weight, [1, 1, 1, 1], "SAME", name="layer")


def _in_groups(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, v1.get_variable("weight", [3, 3, 2, 8]), 1, "SAME", name="layer")


def _normalized(y: tf.Tensor, training: tf.Tensor) -> tf.Tensor:
    """In a condition, through which training sees no batch norm that could be folded."""
    size = y.shape[-1]
    random = np.random.default_rng(1)
    # With a negative and a vanishing factor.
    gamma = np.linspace(-1.5, 2, size).astype(np.float32)
    gamma[1] = 0
    beta, mean = (random.normal(size=size).astype(np.float32) for _ in range(2))
    variance = random.uniform(0.2, 3, size).astype(np.float32)

    def train() -> tf.Tensor:
        return v1.nn.fused_batch_norm(y, gamma, beta)[0]

    def infer() -> tf.Tensor:
        return v1.nn.fused_batch_norm(y, gamma, beta, mean, variance, is_training=False)[0]

    return tf.cond(training, train, infer)


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize("layer", [_conv, _depthwise, _in_groups])
def test_what_the_converter_merges_is_in_the_scales(tmp_path: Path, layer: Any) -> None:
    """The layer returns what was simulated, to float32."""
    config, record, model_path = (tmp_path / name for name in ("c.json", "r.txt", "m.pb"))
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 4], "x")
        training = v1.placeholder_with_default(False, [], "training")
        y = tf.reduce_mean(tf.nn.relu(_normalized(layer(x), training)), [1, 2])
        out = tf.matmul(y, v1.get_variable("dense", [y.shape[-1], 5]), name="out")
        amct.create_quant_retrain_config(config, graph)
        ops = amct.create_quant_retrain_model(graph, config, record)
        train = v1.train.GradientDescentOptimizer(1e-3).minimize(tf.reduce_mean(out**2))
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run(train, {x: X, training: True})
            session.run(ops[-1])
            frozen = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["out"]
            )
    model_path.write_bytes(frozen.SerializeToString())
    artifact = export(load_model(model_path), read_record(record), "mnn", tmp_path / "q")
    found = verify(artifact, {"x": X}, layers=True)
    assert found.problems() == ()
    assert found.layers[0].own is not None
    assert found.layers[0].own.mean < 1e-4
