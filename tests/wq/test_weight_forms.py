"""The forms in which a graph can hold a weight, up to the model that MNN's converter makes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.registry import load_registry
from graphquant_export.targets.mnn import read_mnn_layers, run_mnn_model
from graphquant_wq import WeightQuantizer, strip_wq_ops

v1 = tf.compat.v1

IMAGES = np.random.default_rng(3).uniform(-1, 1, (1, 8, 8, 32)).astype(np.float32)
SERIES = np.random.default_rng(4).uniform(-1, 1, (1, 12, 16)).astype(np.float32)


def _weight(*shape: int, **options: Any) -> tf.Tensor:
    initializer = v1.random_normal_initializer(0, 0.3, seed=2)
    return v1.get_variable("w", shape, initializer=initializer, **options)


def _keras(x: tf.Tensor) -> tf.Tensor:
    y = tf.keras.layers.Conv2D(6, 3, activation="relu", name="keras_conv")(x)
    return tf.keras.layers.Dense(4, name="keras_dense")(tf.reduce_mean(y, [1, 2]))


def _partitioned(x: tf.Tensor) -> tf.Tensor:
    with v1.variable_scope("", partitioner=v1.fixed_size_partitioner(3, axis=3)):
        w = _weight(3, 3, 32, 6)
    return tf.reduce_mean(tf.nn.conv2d(x, w, 2, "SAME", name="conv"), [1, 2])


def _conv1d(x: tf.Tensor) -> tf.Tensor:
    y = tf.nn.conv1d(x, _weight(3, 16, 6), 1, "SAME", name="conv1d")
    return tf.reduce_mean(y, [1])


def _shared(x: tf.Tensor) -> tf.Tensor:
    w = _weight(3, 3, 32, 32)
    y = tf.nn.conv2d(tf.nn.conv2d(x, w, 1, "SAME", name="first"), w, 2, "SAME", name="second")
    with v1.variable_scope("dense"):
        return tf.matmul(tf.reduce_mean(y, [1, 2]), _weight(32, 5), name="dense")


def _constant(x: tf.Tensor) -> tf.Tensor:
    w = np.random.default_rng(6).normal(size=(3, 3, 32, 6)).astype(np.float32)
    return tf.reduce_mean(tf.nn.conv2d(x, w, 2, "SAME", name="conv"), [1, 2])


FORMS = {
    "keras": (_keras, IMAGES, 2),
    "partitioned": (_partitioned, IMAGES, 1),
    "conv1d": (_conv1d, SERIES, 1),
    "shared": (_shared, IMAGES, 3),
    "constant": (_constant, IMAGES, 1),
}
"""What builds it, values of its input, and how many layers it has."""


def _built(form: Callable[[tf.Tensor], tf.Tensor], values: np.ndarray) -> tf.Graph:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, values.shape, name="x")
        tf.nn.softmax(form(x), name="prob")
    return graph


def _through_mnn(graph: tf.Graph, values: np.ndarray, folder: Path, **options: Any) -> Any:
    """Quantise, freeze and export; the artifact, and what TensorFlow and MNN compute."""
    quantizer = WeightQuantizer(graph, **options)
    with graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        quantizer.init(session)
        fake = session.run("prob:0", {"x:0": values})
        strip_wq_ops()
        frozen = v1.graph_util.convert_variables_to_constants(session, session.graph_def, ["prob"])
    exporter = load_registry().exporters["mnn"]
    done: Any = exporter.export(frozen, ["prob"], quantizer.compress_params(), folder / "model")
    return done, fake, run_mnn_model(done.model_path, {"x": values}, ["prob"])["prob"]


@pytest.mark.usefixtures("mnn", "both_kinds_of_variables")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strategy", ["live_range", "learned_scale"])
def test_what_the_graph_showed_is_what_mnn_computes(
    tmp_path: Path, form: str, strategy: str
) -> None:
    """However the weight is held, no code differs and the outputs agree."""
    build, values, layers = FORMS[form]
    graph = _built(build, values)
    done, fake, in_mnn = _through_mnn(graph, values, tmp_path, bits=3, strategy=strategy)
    assert len(done.layers) == layers
    assert all(layer.mismatches == 0 and layer.bits == 3 for layer in done.layers)
    np.testing.assert_allclose(in_mnn, fake, atol=1e-5)


def _pointwise(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.conv2d(x, _weight(1, 1, 32, 6), 1, "SAME", name="conv"), [1, 2])


def _transposed(x: tf.Tensor) -> tf.Tensor:
    """Its groups cross channels, which the batch norm behind it scales differently."""
    y = v1.nn.conv2d_transpose(x, _weight(2, 2, 6, 32), [1, 16, 16, 6], 2, "SAME", name="conv")
    gamma, beta = np.linspace(-2, 2, 6, dtype=np.float32), np.zeros(6, np.float32)
    y = v1.nn.fused_batch_norm(y, gamma, beta, beta, beta + 1, is_training=False)[0]
    return tf.reduce_mean(tf.nn.relu(y), [1, 2])


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize("form", [_pointwise, _transposed])
@pytest.mark.parametrize("strategy", ["live_range", "learned_scale"])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_blocks_of_input_channels_are_those_of_mnn(
    tmp_path: Path, form: Callable[[tf.Tensor], tf.Tensor], strategy: str, asymmetric: bool
) -> None:
    """As many groups as blocks of 16 input channels: each has its grid, in the graph and in MNN."""
    graph = _built(form, IMAGES)
    done, fake, in_mnn = _through_mnn(
        graph, IMAGES, tmp_path, bits=4, block_size=16, asymmetric=asymmetric, strategy=strategy
    )
    (layer,) = done.layers
    assert layer.mismatches == 0
    stored = read_mnn_layers(done.model_path)[layer.mnn_name].weight
    assert stored is not None
    assert stored.scale.size == 12
    np.testing.assert_allclose(in_mnn, fake, atol=1e-5)


@pytest.mark.usefixtures("mnn")
def test_a_pruned_model_is_as_sparse_in_mnn(
    small_model: Callable[..., Any], tmp_path: Path
) -> None:
    """Nine of ten weights are zero before training and stay zero in MNN."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph, bits=4)
    step = model.trainer()
    rng = np.random.default_rng(5)
    images = rng.uniform(size=(40, 8, 8, 1)).astype(np.float32)
    feed = {model.x: images, model.labels: rng.integers(0, 2, 40)}
    zeros = {}
    with model.graph.as_default(), v1.Session() as session:
        session.run(model.initializer())
        for variable in v1.trainable_variables():
            if variable.op.name.endswith("/w"):
                values = session.run(variable)
                smallest = np.abs(values).ravel().argsort()[: math.ceil(0.9 * values.size)]
                values.flat[smallest] = 0
                variable.load(values, session)
                layer = variable.op.name.partition("/")[0]
                zeros[layer] = int(np.count_nonzero(values == 0))
        quantizer.init(session)
        for _ in range(5):
            session.run(step, feed)
            quantizer.update(session)
        checkpoint = v1.train.Saver().save(session, str(tmp_path / "pruned"))
    inference = small_model(training=False)
    quantizer = WeightQuantizer(inference.graph, bits=4)
    with inference.graph.as_default(), v1.Session() as session:
        v1.train.Saver().restore(session, checkpoint)
        quantizer.init(session)
        strip_wq_ops()
        frozen = inference.freeze(session)
    exporter = load_registry().exporters["mnn"]
    done: Any = exporter.export(frozen, ["prob"], quantizer.compress_params(), tmp_path / "model")
    # A weight that was left may round to zero: on its grid, before it is converted.
    frozen_zeros = {
        node.name.partition("/")[0]: int(
            np.count_nonzero(tf.make_ndarray(node.attr["value"].tensor) == 0)
        )
        for node in frozen.node
        if "weight_quant/on_grid" in node.name
    }
    assert len(zeros) == len(done.layers) == 5
    for layer in done.layers:
        name = layer.name.partition("/")[0]
        assert 0.9 * layer.weights <= zeros[name] <= layer.zeros == frozen_zeros[name]
        assert layer.mismatches == 0
