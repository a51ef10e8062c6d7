"""Every runtime is held against the same reference, and names the layer that is another."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.exporter import ExportSource
from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.record import LayerFactors, Record
from graphquant_core.registry import load_registry
from graphquant_export.post_training import quantize_post_training
from graphquant_export.report import write_report
from graphquant_export.targets.mnn.compress_params import LayerParams
from graphquant_export.verification import open_artifact, verify

TARGETS = ["ascend", "onnx", "litert", "mnn"]
WHEELS = {"onnx": "onnxruntime", "litert": "ai_edge_litert", "mnn": "MNN"}

v1 = tf.compat.v1


@pytest.fixture
def export(trained, tmp_path, image):
    """Exports `trained` to a target, with the record given or its own."""
    frozen, own = trained

    def export_to(target, record=own):
        if target in WHEELS:
            pytest.importorskip(WHEELS[target])
        exporter = load_registry().exporter(target)
        return exporter.export(
            frozen, ["logits"], record, tmp_path / target, calibration={"image": image}
        )

    return export_to


@pytest.mark.parametrize("target", TARGETS)
def test_an_artifact_is_within_the_limits(export, trained, image, target, tmp_path):
    """What was exported agrees with its reference, layer by layer, also when it is found again."""
    frozen, record = trained
    artifact = export(target)
    found = verify(artifact, {"image": image}, layers=True)
    assert found.problems() == ()
    assert found.outputs[0].reference.agreement == 1.0
    assert {layer.layer for layer in found.layers} == set(record)
    assert max(layer.own.mean for layer in found.layers if layer.own) < 0.5
    again = open_artifact(target, tmp_path / target, frozen, ["logits"], record)
    assert verify(again, {"image": image}, layers=True).outputs == found.outputs


@pytest.mark.parametrize("target", TARGETS)
def test_a_layer_with_another_range_is_named(export, trained, image, target):
    """A file whose grid at one layer is far narrower than the source says: that layer."""
    frozen, record = trained
    name = "up/deconv"
    changed = attrs.evolve(record[name], scale_d=record[name].scale_d / 32)
    artifact = export(target, Record({**record, name: changed}))
    claimed = attrs.evolve(artifact, source=ExportSource(frozen, ("logits",), record))
    found = verify(claimed, {"image": image}, layers=True)
    assert not found.ok()
    # Kernels that return integers: there the layer before has the grid of this one's input.
    before = "depthwise/depthwise"
    rounding = ("litert", "onnx")
    assert found.first_divergence().layer == (before if target in rounding else name)


def test_weights_alone_are_compared_with_the_frozen_graph(tmp_path):
    """For MNN's weight-only models there is no integer reference: the simulation is the truth."""
    pytest.importorskip("MNN")
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 4], "x")
        codes = random.integers(-3, 4, (3, 3, 4, 8)).astype(np.float32)
        codes[0, 0, 0] = 3
        y = tf.nn.relu(tf.nn.conv2d(x, codes * 0.25, 1, "SAME", name="conv"))
        y = tf.reduce_mean(y, [1, 2])
        codes = random.integers(-3, 4, (8, 5)).astype(np.float32)
        codes[0] = 3
        tf.identity(tf.matmul(y, codes * 0.5, name="dense"), name="logits")
    model = GraphDefEditor(graph.as_graph_def()).graph_def(["logits"])
    params = (LayerParams("conv", 3, False), LayerParams("dense__matmul_converted", 3, False))
    artifact = load_registry().exporter("mnn").export(model, ["logits"], params, tmp_path / "m")
    feeds = {"x": random.normal(size=(12, 6, 6, 4)).astype(np.float32)}
    found = verify(artifact, feeds, layers=True, labels=np.zeros(12, int))
    assert found.ok()
    assert found.layer_reference == "simulation"
    assert found.outputs[0].reference is None
    assert found.outputs[0].accuracy.reference is None
    assert found.outputs[0].simulation.agreement == 1.0
    assert {row.layer: row.execution for row in found.executions} == {
        "conv": "int3 weights",
        "dense": "int3 weights",
    }
    page, _ = write_report(tmp_path / "m.html", found, artifact.source, feeds)
    assert "int3 weights" in page.read_text()


@pytest.mark.parametrize("target", sorted(WHEELS))
@pytest.mark.parametrize("offset", [-128, -37, 0, 100])
def test_a_value_between_two_codes_is_rounded_as_the_runtime_rounds_it(target, offset, tmp_path):
    """On quarters of steps from end to end, also in front of a depthwise and a dense layer."""
    pytest.importorskip(WHEELS[target])
    step, weight = 2.0**-6, np.full((1, 1, 4, 1), 0.5, np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4, 4, 4], "x") * tf.constant(step)
        filters = np.eye(4, dtype=np.float32)
        tf.nn.conv2d(x, filters[None, None], 1, "SAME", name="whole")
        v1.nn.depthwise_conv2d_native(x, weight, [1, 1, 1, 1], "SAME", name="each")
        tf.matmul(tf.reshape(x, [-1, 64]), np.eye(64, dtype=np.float32), name="dense")
    names = ["whole", "each", "dense"]
    scales = {"whole": [1 / 127] * 4, "each": [0.5 / 127] * 4, "dense": [1 / 127]}
    record = Record({name: LayerFactors(step, offset, scales[name]) for name in names})
    feeds = {"x": (np.arange(1024, dtype=np.float32) / 4 - 128 - offset).reshape(-1, 4, 4, 4)}
    artifact = (
        load_registry()
        .exporter(target)
        .export(graph.as_graph_def(), names, record, tmp_path / "m", calibration=feeds)
    )
    found = verify(artifact, feeds, layers=True)
    assert [row.execution for row in found.executions] == ["int8"] * 3
    assert max(output.reference.mean for output in found.outputs) < 0.01
    assert max(layer.own.mean for layer in found.layers) < 0.01


@pytest.mark.parametrize("target", sorted(WHEELS))
@pytest.mark.parametrize("activation", [tf.nn.relu, tf.nn.relu6, tf.identity])
def test_a_batch_norm_that_a_target_folds_is_part_of_the_layers_result(
    target, activation, tmp_path
):
    """With weights alone the frozen graph still has it: each layer is the same in the runtime."""
    pytest.importorskip(WHEELS[target])
    random = np.random.default_rng(0)
    codes = random.integers(-3, 4, (2, 3, 3, 8, 8)).astype(np.float32)
    codes[:, 0, 0, 0] = 3
    with tf.Graph().as_default() as graph:
        y = v1.placeholder(tf.float32, [None, 6, 6, 8], "x")
        for name, weight in zip(("first", "second"), codes / 4, strict=True):
            y = tf.nn.conv2d(y, weight, 1, "SAME", name=name)
            norm = [random.uniform(0.5, 1.5, 8).astype(np.float32) for _ in range(4)]
            y = activation(v1.nn.fused_batch_norm(y, *norm, is_training=False)[0])
        tf.reduce_mean(y, [1, 2], name="y")
    params = [LayerParams(name, 3, False) for name in ("first", "second")]
    exporter = load_registry().exporter(target)
    artifact = exporter.export(graph.as_graph_def(), ["y"], params, tmp_path / "m")
    feeds = {"x": random.normal(size=(12, 6, 6, 8)).astype(np.float32)}
    found = verify(artifact, feeds, layers=True)
    assert found.problems() == ()
    assert [layer.layer for layer in found.layers] == ["first", "second"]
    assert all(layer.own.mean < 1e-3 for layer in found.layers)


def test_a_report_of_weights_alone_shows_the_layers_that_the_parameters_name(tmp_path):
    """A layer that was skipped is float in the report, and a transposed matrix is quantised."""
    pytest.importorskip("MNN")
    random = np.random.default_rng(0)
    codes = random.integers(-3, 4, (3, 8, 8)).astype(np.float32)
    codes[:, 0] = codes[:, :, 0] = 3
    with tf.Graph().as_default() as graph:
        y = tf.matmul(v1.placeholder(tf.float32, [None, 8], "x"), codes[0], name="first")
        y = tf.matmul(tf.nn.relu(y), codes[1], name="skipped")
        y = tf.matmul(tf.nn.relu(y), codes[2], transpose_b=True, name="transposed")
        tf.identity(y, name="y")
    names = ("first", "transposed")
    params = [LayerParams(f"{name}__matmul_converted", 3, False) for name in names]
    exporter = load_registry().exporter("mnn")
    artifact = exporter.export(graph.as_graph_def(), ["y"], params, tmp_path / "m")
    feeds = {"x": random.normal(size=(12, 8)).astype(np.float32)}
    found = verify(artifact, feeds, layers=True)
    _, data = write_report(tmp_path / "m.html", found, artifact.source, feeds)
    content = json.loads(data.read_text())
    decisions = {row["name"]: row["decision"] for row in content["plan"]}
    assert decisions == {"first": "quantise", "skipped": "float", "transposed": "quantise"}
    assert [row["name"] for row in content["layers"]] == list(names)
    executions = [row["targets"]["mnn"]["execution"] for row in content["layers"]]
    assert executions == ["int3 weights"] * 2


def exported(target, graph, feeds, tmp_path):
    """The artifact of `graph`, whose output is "y"."""
    if target in WHEELS:
        pytest.importorskip(WHEELS[target])
    model = graph.as_graph_def()
    record = quantize_post_training(model, ["y"], feeds, activation="min_max")
    exporter = load_registry().exporter(target)
    return exporter.export(model, ["y"], record, tmp_path / target, calibration=feeds)


@pytest.mark.parametrize("target", TARGETS)
def test_a_placeholder_with_a_default_may_be_left_out(target, tmp_path):
    """The runtime computes with the default, as TensorFlow does; LiteRT takes no other value."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 3], name="file")
        y = tf.nn.conv2d(x, rng.normal(size=(3, 3, 3, 4)).astype(np.float32), 1, "SAME", name="a")
        y = y * v1.placeholder_with_default(np.float32(2.0), [], name="rate")
        weight = rng.normal(size=(1, 1, 4, 4)).astype(np.float32)
        tf.identity(tf.nn.conv2d(y, weight, 1, "SAME", name="b"), name="y")
    feeds = {"file": rng.normal(size=(16, 6, 6, 3)).astype(np.float32)}
    artifact = exported(target, graph, feeds, tmp_path)
    assert verify(artifact, feeds).outputs[0].simulation.mean < 1
    other = {**feeds, "rate": np.float32(0.5)}
    if target == "litert":
        with pytest.raises(ConfigError, match=r'"rate" \(2\.\)'):
            verify(artifact, other)
    else:
        assert verify(artifact, other).outputs[0].simulation.mean < 1


@pytest.mark.parametrize("target", TARGETS)
def test_the_members_of_a_group_are_compared_with_their_concatenation(target, tmp_path):
    """Split -> Conv2D each -> Concat, on grids far apart: no member differs by itself."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        parts = tf.split(v1.placeholder(tf.float32, [None, 6, 6, 4], name="x"), 2, 3)
        weights = [scale * rng.normal(size=(3, 3, 2, 3)).astype(np.float32) for scale in (1, 10)]
        parts = [
            tf.nn.conv2d(part, weight, 1, "SAME", name=f"g{index}")
            for index, (part, weight) in enumerate(zip(parts, weights, strict=True))
        ]
        y = tf.nn.relu(tf.nn.bias_add(tf.concat(parts, 3), np.arange(6, dtype=np.float32)))
        weight = rng.normal(size=(1, 1, 6, 4)).astype(np.float32)
        tf.identity(tf.nn.conv2d(y, weight, 1, "SAME", name="c"), name="y")
    feeds = {"x": rng.normal(size=(16, 6, 6, 4)).astype(np.float32)}
    found = verify(exported(target, graph, feeds, tmp_path), feeds, layers=True)
    assert {layer.execution for layer in found.layers} == {"int8"}
    assert max(layer.own.mean for layer in found.layers) < 0.5
    assert found.outputs[0].simulation.mean < 1


@pytest.mark.parametrize("target", TARGETS)
def test_an_output_is_the_very_tensor_of_an_op_with_several(target, tmp_path):
    """Behind an Identity, the second part of a Split is not the first."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 3], name="x")
        weight = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
        _, second = tf.split(tf.nn.conv2d(x, weight, 1, "SAME", name="c"), 2, 3, name="parts")
        tf.identity(second, name="y")
    feeds = {"x": rng.normal(size=(16, 6, 6, 3)).astype(np.float32)}
    artifact = exported(target, graph, feeds, tmp_path)
    assert verify(artifact, feeds).outputs[0].simulation.mean < 1


@pytest.mark.parametrize("target", TARGETS)
def test_an_output_of_integers_is_exact(target, tmp_path):
    """Beside a quantised output; beyond 2^24 floats no longer hold every integer."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 3], name="x")
        count = v1.placeholder(tf.int32, [None], name="count")
        weight = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
        tf.identity(tf.nn.conv2d(x, weight, 1, "SAME", name="c"), name="y")
        tf.add(count, 2**24, name="number")
    model = graph.as_graph_def()
    feeds = {
        "x": rng.normal(size=(8, 6, 6, 3)).astype(np.float32),
        "count": np.arange(1, 9, dtype=np.int32),
    }
    record = quantize_post_training(model, ["y", "number"], feeds, activation="min_max")
    if target in WHEELS:
        pytest.importorskip(WHEELS[target])
    exporter = load_registry().exporter(target)
    path = tmp_path / target
    artifact = exporter.export(model, ["y", "number"], record, path, calibration=feeds)
    found = exporter.runtime(artifact).run(feeds, ["number"])["number"]
    np.testing.assert_array_equal(found, feeds["count"] + 2**24)


@pytest.mark.parametrize("target", TARGETS)
def test_a_dilated_convolution_is_compared_as_the_image_that_it_returns(target, tmp_path):
    """Without a bias behind BatchToSpaceND, as an output and before another layer."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        y = v1.placeholder(tf.float32, [None, 9, 7, 4], name="x")
        for name in ("first", "second"):
            weight = rng.normal(size=(3, 3, 4, 1)).astype(np.float32)
            y = tf.nn.depthwise_conv2d(y, weight, [1, 1, 1, 1], "SAME", dilations=[2, 2], name=name)
        tf.identity(y, name="y")
    feeds = {"x": rng.normal(size=(16, 9, 7, 4)).astype(np.float32)}
    found = verify(exported(target, graph, feeds, tmp_path), feeds, layers=True)
    assert len(found.layers) == 2
    assert max(layer.own.mean for layer in found.layers) < 0.5
    assert found.outputs[0].simulation.mean < 1


@pytest.mark.parametrize("target", ["ascend", "litert"])
def test_a_layer_inside_of_a_function_is_listed_as_float(target, tmp_path):
    """It is a skip of the plan, under the name of the function, and no op of the graph."""
    random = np.random.default_rng(0)
    inner, outer = (random.normal(size=(1, 1, 4, 4)).astype(np.float32) for _ in range(2))

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 4], tf.float32)], autograph=False)
    def body(x):
        return tf.nn.relu(tf.nn.conv2d(x, inner, 1, "SAME"))

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 6, 6, 4], "x")
        y = tf.nn.relu(tf.nn.conv2d(x, outer, 1, "SAME", name="c1"))
        tf.identity(tf.nn.conv2d(body(y), outer, 1, "SAME", name="c2"), name="y")
    model, feeds = graph.as_graph_def(), {"x": random.normal(size=(8, 6, 6, 4)).astype(np.float32)}
    record = quantize_post_training(model, ["y"], feeds, target=target)
    artifact = load_registry().exporter(target).export(model, ["y"], record, tmp_path / "m")
    found = verify(artifact, feeds, layers=True)
    assert found.ok(), found.problems()
    (inside,) = (row for row in found.executions if "/" in row.layer)
    assert inside.execution == "float"
    assert "inside the function" in inside.reason
