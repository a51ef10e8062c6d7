"""Dense layers of 65,536 weights and more, which MNN's converter keeps outside of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.layer import Layer
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.mnn import LayerParams, mnn_grouping, mnn_quantize
from graphquant_export.targets.target import MNN

v1 = tf.compat.v1

pytestmark = pytest.mark.usefixtures("mnn")

SIZE = 256  # a square of it has as many weights as the converter takes out
SAMPLES = 8


class Drawn:
    """Draws what a network is made of."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)

    def normal(self, *shape: int) -> np.ndarray:
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 1
        return self.random.normal(0, 1.2 / np.sqrt(fan_in), shape).astype(np.float32)

    def dense(self, x: tf.Tensor, units: int, name: str) -> tf.Tensor:
        y = tf.matmul(x, self.normal(x.shape[-1], units), name=name)
        return tf.nn.bias_add(y, self.normal(units))

    def vector(self, size: int = SIZE) -> tf.Tensor:
        return v1.placeholder(tf.float32, [None, size], name="x")


def without_anything(d: Drawn) -> tf.Tensor:
    return tf.matmul(tf.nn.relu(d.vector()), d.normal(SIZE, SIZE), name="large")


def with_bias_and_relu(d: Drawn) -> tf.Tensor:
    y = tf.nn.relu(d.dense(d.vector(), SIZE, "large"))
    return d.dense(y, 5, "head")


def with_batch_norm(d: Drawn) -> tf.Tensor:
    y = tf.matmul(d.vector(), d.normal(SIZE, SIZE), name="large")
    gamma = d.random.choice([-1, 1], SIZE) * d.random.uniform(0.4, 1.6, SIZE)
    parts = d.normal(SIZE), d.random.uniform(0.5, 2, SIZE), d.normal(SIZE), gamma
    mean, variance, beta, gamma = (part.astype(np.float32) for part in parts)
    y = tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)
    return d.dense(tf.nn.relu(y), 5, "head")


def several(d: Drawn) -> tf.Tensor:
    x = d.vector()
    y = tf.nn.relu(d.dense(x, 2 * SIZE, "large1"))
    return tf.nn.relu(x + d.dense(y, SIZE, "large2"))


def wide(d: Drawn) -> tf.Tensor:
    # More outputs than an unsigned integer of 16 bits counts.
    return d.dense(d.vector(2), 70_000, "large")


def over_positions(d: Drawn) -> tf.Tensor:
    x = v1.placeholder(tf.float32, [None, 3, SIZE], name="x")
    y = tf.nn.relu(d.dense(tf.reshape(x, [-1, SIZE]), SIZE, "large"))
    return tf.reshape(d.dense(y, 5, "head"), [-1, 3, 5])


NETWORKS = (
    *(without_anything, with_bias_and_relu, with_batch_norm, several, wide, over_positions),
)


def _built(build: Callable[[Drawn], tf.Tensor]) -> tuple[Any, dict[str, np.ndarray]]:
    with tf.Graph().as_default() as graph:
        tf.identity(build(Drawn()), name="out")
    shape = [SAMPLES, *graph.get_tensor_by_name("x:0").shape[1:]]
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return graph.as_graph_def(), {"x": x}


def _run(graph_def: Any, feeds: dict[str, np.ndarray]) -> np.ndarray:
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run("out:0", {f"{name}:0": value for name, value in feeds.items()})


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_a_large_dense_layer_has_the_records_integers(mnn_simulation, tmp_path, build):
    """The file holds its codes and scales, and MNN computes what TensorFlow does with them."""
    model, feeds = _built(build)
    record = quantize_post_training(model, ["out"], feeds, activation="min_max")
    done: Any = MNN.export(model, ["out"], record, tmp_path / "m", calibration=feeds)
    assert {layer.execution for layer in done.layers} == {"int8"}
    assert max(layer.weights for layer in done.layers) >= SIZE**2
    runtime = MNN.runtime(done)
    found = runtime.run(feeds, ["out"])["out"]
    wanted = _run(mnn_simulation(done), feeds)
    step = max(row.output.scale for row in done.planned)
    assert np.isclose(found, wanted, atol=1e-4 * np.ptp(wanted)).mean() > 0.98
    assert np.abs(found - wanted).max() < 2 * step
    again: Any = MNN.open(tmp_path / "m", done.source)
    assert again.layers == done.layers


def test_without_a_range_its_weight_alone_is_quantised(tmp_path):
    """On the record's grid, by which MNN multiplies floats."""
    model, feeds = _built(without_anything)
    record = quantize_post_training(model, ["out"], feeds, activation="min_max")
    done: Any = MNN.export(model, ["out"], record, tmp_path / "m")
    assert [(layer.execution, layer.weights) for layer in done.layers] == [
        ("int8 weights", SIZE**2)
    ]
    assert done.layers[0].off_by == 0
    found = MNN.runtime(done).run(feeds, ["out"])["out"]
    wanted = _run(simulate(model, ["out"], record).graph_def, feeds)
    assert np.abs(found - wanted).max() < 1e-5 * np.ptp(wanted)


@pytest.mark.parametrize(
    ("bits", "asymmetric", "block_size", "transposed"),
    [
        (8, False, 0, False),
        (8, True, 0, True),
        (4, False, 0, True),
        (3, True, 0, False),
        (2, False, 0, False),
        (4, True, 64, False),
    ],
)
def test_a_large_dense_layer_has_weights_of_few_bits(
    tmp_path, bits, asymmetric, block_size, transposed
):
    """Those of the frozen graph, of every number of bits, and MNN multiplies by them."""
    layer = Layer("large", "MatMul", 0, 1, (SIZE, SIZE), (0,) if transposed else (1,))
    grouping = mnn_grouping(layer, block_size)
    d = Drawn()
    rows = mnn_quantize(grouping.rows(d.normal(SIZE, SIZE)), bits, asymmetric).values()
    with tf.Graph().as_default() as graph:
        x = tf.nn.relu(d.vector())
        tf.matmul(x, grouping.weight(rows), transpose_b=transposed, name="large")
        tf.identity(graph.get_tensor_by_name("large:0"), name="out")
    model = graph.as_graph_def()
    params = [LayerParams("large__matmul_converted", bits, asymmetric, block_size)]
    done: Any = MNN.export(model, ["out"], params, tmp_path / "m")
    assert [(row.bits, row.weights, row.mismatches) for row in done.layers] == [(bits, SIZE**2, 0)]
    feeds = {"x": d.random.normal(size=(SAMPLES, SIZE)).astype(np.float32)}
    found = MNN.runtime(done).run(feeds, ["out"])["out"]
    np.testing.assert_allclose(found, _run(model, feeds), atol=1e-4)
