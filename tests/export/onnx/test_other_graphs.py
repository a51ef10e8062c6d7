"""Third-party layers, names that clash, and many placeholders."""

from __future__ import annotations

from types import MappingProxyType

import attrs
import numpy as np
import onnx
import pytest
import tensorflow as tf

import graphquant_export.targets.onnx as target
from graphquant_core.handler import full_shape
from graphquant_core.layer import Layer
from graphquant_core.record import LayerFactors, Record
from graphquant_core.registry import load_registry
from graphquant_export.integer_reference import integer_reference
from graphquant_export.quantized.simulate import simulate

v1 = tf.compat.v1


class ThirdParty:
    """Handler of an op whose weight, on port 1, has its channels last."""

    def __init__(self, op_type: str) -> None:
        self.name, self.op_types = op_type, frozenset({op_type})

    def describe(self, op: tf.Operation) -> Layer:
        shape = full_shape(op.inputs[1])
        return Layer(op.name, op.type, 0, 1, shape, (len(shape) - 1,), output_channel_axis=-1)


@pytest.fixture
def third_party(monkeypatch):
    """Makes layers of Conv3D and Einsum, as an installed plugin does."""
    registry = load_registry()
    added = {op_type: ThirdParty(op_type) for op_type in ("Conv3D", "Einsum")}
    handlers = MappingProxyType({**registry.handlers, **added})
    known = attrs.evolve(registry, handlers=handlers)
    monkeypatch.setattr("graphquant_core.graph.planner.load_registry", lambda: known)


def exported(build, x, layer, channels, tmp_path):
    """(runtime, exact value of "y") of a graph of one quantised layer."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(v1.placeholder(tf.float32, x.shape, name="x")), name="y")
    scale_w = np.random.default_rng(1).uniform(0.005, 0.01, channels)
    record = Record({layer: LayerFactors(0.03, -7, scale_w)})
    artifact = target.export_onnx(graph.as_graph_def(), ["y"], record, tmp_path / "m")
    deployed = simulate(graph.as_graph_def(), ["y"], record).exact.graph_def
    (exact,) = integer_reference(deployed, ["y"], {"x": x})
    return target.OnnxRuntime(artifact), exact


@pytest.mark.usefixtures("third_party")
def test_a_third_party_convolution_is_exported(tmp_path):
    """Conv3D, which only a plugin knows: five axes, channels last in TensorFlow."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.3, (2, 3, 3, 2, 5)).astype(np.float32)
    x = rng.normal(size=(1, 4, 6, 6, 2)).astype(np.float32)
    runtime, exact = exported(
        lambda fed: tf.nn.conv3d(fed, weight, [1, 1, 2, 2, 1], "SAME", name="layer"),
        x,
        "layer",
        5,
        tmp_path,
    )
    found = runtime.run({"x": x}, ["y"])["y"]
    assert np.abs(found - exact).max() <= 2e-6 * np.abs(exact).max()
    (shown,) = runtime.layer_outputs({"x": x}).values()
    assert np.abs(shown.value - exact).max() <= 2e-6 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        (1, 2, "SAME", 8),
        (1, 3, "SAME", 12),
        (2, 3, "SAME", 12),
        (1, 4, "VALID", 16),
        (2, 3, "VALID", 13),
        (3, 2, "SAME", 7),
    ],
)
def test_a_transposed_convolution_ends_as_in_tensorflow(kernel, stride, padding, size, tmp_path):
    """Also where its windows don't reach the end, in zeros; ONNX knows no negative padding."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.3, (kernel, kernel, 5, 3)).astype(np.float32)
    x = rng.normal(size=(1, 4, 4, 3)).astype(np.float32)
    shape = [1, size, size, 5]
    runtime, exact = exported(
        lambda fed: tf.nn.conv2d_transpose(fed, weight, shape, stride, padding, name="layer"),
        x,
        "layer",
        5,
        tmp_path,
    )
    found = runtime.run({"x": x}, ["y"])["y"]
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= 2e-6 * np.abs(exact).max()


def _around(x, **padding):
    return tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], **padding)


@pytest.mark.parametrize(
    "pooled",
    [
        lambda y: tf.nn.max_pool2d(_around(y), 3, 2, "VALID"),
        lambda y: tf.nn.max_pool2d(_around(tf.nn.relu(y)), 3, 2, "VALID"),
        lambda y: tf.nn.max_pool2d(_around(y, constant_values=-0.5), 3, 2, "VALID"),
        lambda y: tf.nn.max_pool2d(_around(y, mode="REFLECT"), 3, 2, "VALID"),
        lambda y: tf.nn.avg_pool2d(_around(y), 3, 2, "VALID"),
        lambda y: tf.nn.max_pool2d(y, 3, 2, "SAME"),
        lambda y: (
            tf.nn.max_pool2d(_around(y), 3, 2, "VALID")
            + tf.nn.avg_pool2d(_around(y), 3, 2, "VALID")
        ),
    ],
)
def test_zeros_around_a_pooling_are_zeros(pooled, tmp_path):
    """Also where all that is pooled is negative, and ONNX Runtime fuses the two ops."""
    rng = np.random.default_rng(0)
    weight = -rng.uniform(0.1, 0.3, (1, 1, 3, 5)).astype(np.float32)
    x = rng.uniform(0.1, 1, (2, 6, 6, 3)).astype(np.float32)
    runtime, exact = exported(
        lambda fed: pooled(tf.nn.conv2d(fed, weight, 1, "SAME", name="layer")),
        x,
        "layer",
        5,
        tmp_path,
    )
    found = runtime.run({"x": x}, ["y"])["y"]
    assert np.abs(found - exact).max() <= 2e-6 * np.abs(exact).max()


TWICE = {
    "square": lambda y: tf.square(y) + tf.reverse(y, [-1]),
    "product": lambda y: tf.sqrt(tf.square(y) + tf.square(tf.roll(y, 1, -1))),
    "sum": lambda y: tf.square(y + y) - y,
    "largest": lambda y: tf.maximum(y, y) + tf.square(y),
    "turned": lambda y: tf.transpose(tf.square(y), [0, 2, 3, 1]),
}


@pytest.mark.parametrize("size", [(1, 8, 1), (8, 1, 1), (1, 1, 3), (4, 8, 1)])
@pytest.mark.parametrize("twice", TWICE.values(), ids=TWICE)
def test_axes_of_length_one_go_where_tensorflow_has_them(twice, size, tmp_path):
    """Also behind an op that takes a result twice, which moves the transpositions around it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, *size)).astype(np.float32)
    weight = rng.normal(0, 0.3, (3, 3, size[-1], 4)).astype(np.float32)
    runtime, exact = exported(
        lambda fed: twice(tf.nn.conv2d(fed, weight, 1, "SAME", name="layer")),
        x,
        "layer",
        4,
        tmp_path,
    )
    found = runtime.run({"x": x}, ["y"])["y"]
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("third_party")
def test_a_third_party_product_runs_in_integers(tmp_path):
    """Einsum over the last axis becomes a MatMul, which ONNX Runtime sums in integers."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.3, (6, 5)).astype(np.float32)
    x = rng.normal(size=(3, 4, 6)).astype(np.float32)
    runtime, exact = exported(
        lambda fed: tf.einsum("bij,jk->bik", fed, weight, name="layer"),
        x,
        "layer/Einsum",
        5,
        tmp_path,
    )
    assert runtime.kernels() == {"layer/Einsum": "MatMulIntegerToFloat"}
    found = runtime.run({"x": x}, ["y"])["y"]
    assert np.abs(found - exact).max() <= 2e-6 * np.abs(exact).max()


@pytest.mark.parametrize("output", ["block/layer", "block/BiasAdd", "block/FusedBatchNormV3"])
def test_an_output_inside_of_a_layer_keeps_its_name(layer_model, tmp_path, output):
    """Wherever in a folded tail an output stands, the file has it under its name and in NHWC."""
    model = layer_model("Conv2D", "bias+fused")
    plain = layer_model("Conv2D", "none").record()
    record = model.record() if output.endswith("V3") else plain
    artifact = target.export_onnx(model.graph_def, [output, "y"], record, tmp_path / "m")
    found = target.OnnxRuntime(artifact).run({"x": model.x}, [output, "y"])
    deployed = simulate(model.graph_def, [output, "y"], record).exact.graph_def
    exact = integer_reference(deployed, [output, "y"], {"x": model.x})
    for value, wanted in zip(found.values(), exact, strict=True):
        assert np.abs(value - wanted).max() <= 2e-6 * np.abs(wanted).max()
    names = [node.name for node in onnx.load_model(artifact.model_path).graph.node]
    assert len(names) == len(set(names))
    assert "block/layer" in names


def test_several_placeholders_keep_their_names_and_types(tmp_path):
    """A model takes each of them under its own name, an integer one as integers."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.3, (6, 5)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        rows = v1.placeholder(tf.float32, [None, 6], name="rows")
        index = v1.placeholder(tf.int32, [None], name="index")
        picked = tf.gather(tf.matmul(rows, weight, name="layer"), index)
        tf.identity(picked, name="y")
    record = Record({"layer": LayerFactors(0.03, -7, [0.01])})
    artifact = target.export_onnx(graph.as_graph_def(), ["y"], record, tmp_path / "m")
    feeds = {"rows": rng.normal(size=(4, 6)).astype(np.float32), "index": np.array([2, 0])}
    found = target.OnnxRuntime(artifact).run(feeds, ["y"])["y"]
    deployed = simulate(graph.as_graph_def(), ["y"], record).exact.graph_def
    (exact,) = integer_reference(deployed, ["y"], {**feeds, "index": feeds["index"].astype("i4")})
    assert np.abs(found - exact).max() <= 2e-6 * np.abs(exact).max()
