"""The files of an int8 export to MNN, what is checked before they are written, and the errors."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    ConfigError,
    MissingDependencyError,
    ModelFileError,
    OutputNotFoundError,
    RangeError,
    RecordError,
    UnsupportedLayerError,
)
from graphquant_core.exporter import ReopeningExporter
from graphquant_core.record import LayerFactors
from graphquant_core.registry import load_registry
from graphquant_core.runtime import LayerExecution
from graphquant_export.post_training import quantize_post_training
from graphquant_export.targets.mnn import LayerParams, convert, mnn_grouping, mnn_quantize
from graphquant_export.targets.mnn.int8 import export_int8
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.model_file import read_mnn_model
from graphquant_export.targets.mnn.runtime import run_mnn_model
from graphquant_export.targets.target import MNN

v1 = tf.compat.v1

needs_mnn = pytest.mark.skipif(
    importlib.util.find_spec("MNN") is None,
    reason='needs the wheel MNN: pip install "graphquant-export[mnn]"',
)

OBSERVE = """
import json, sys
import MNN
net = MNN.Interpreter(sys.argv[1])
session = net.createSession()
types = {}
def after(tensors, info):
    types.setdefault(info.getName(), info.getType().replace(" ", ""))
    return True
net.runSessionWithCallBackInfo(session, lambda tensors, info: True, after)
print(json.dumps(types))
"""


@pytest.fixture
def feeds(image):
    """A batch for the placeholder of `trained`."""
    return {"image": image}


@needs_mnn
def test_the_files_hold_the_record(trained, feeds, tmp_path):
    """Scales, zero points and codes of the .mnn are the record's, for every int8 layer."""
    frozen, record = trained
    done: Any = MNN.export(frozen, ["logits"], record, tmp_path / "m", calibration=feeds)
    assert [path.name for path in done.paths] == ["m.mnn", "m.pb", "m.json"]
    assert not {"FakeQuantWithMinMaxArgs", "FusedBatchNormV3"} & {
        node.op for node in v1.GraphDef.FromString(done.frozen_path.read_bytes()).node
    }
    assert {layer.name: layer.execution for layer in done.layers} == {
        "conv/Conv2D": "int8",
        "up/deconv": "int8",
        "head/Conv2D": "int8",
        "head/MatMul": "int8",
    }
    stored = read_mnn_model(done.model_path).layers
    for layer in done.layers:
        assert layer.off_by == 0
        found, factors = stored[layer.mnn_name], record[layer.name]
        assert found.int8
        assert (found.input.scale, found.input.zero) == (factors.scale_d, factors.offset_d)
        # The transposed convolution has a copy of each channel for every place in its stride.
        copies = 4 if layer.name == "up/deconv" else 1
        expected = np.broadcast_to(np.tile(factors.scale_w, copies), found.weight.scale.shape)
        np.testing.assert_array_equal(found.weight.scale, expected)
        assert np.abs(found.weight.codes).max() == 127
    # The first layer's result is what the second one takes.
    second = record["depthwise/depthwise"]
    grid = stored["conv/bias_quant/BiasAdd"].output
    assert (grid.scale, grid.zero) == (second.scale_d, second.offset_d)
    params = json.loads(done.params_path.read_text())
    identity = params["mnn_uuid"].encode()
    assert identity in done.model_path.read_bytes()
    # By hand, into the same files, they convert to the same but for a drawn identity.
    written = done.model_path.read_bytes()
    for command in done.commands:
        convert(command)
    assert len(done.model_path.read_bytes()) == len(written)
    assert done.model_path.read_bytes() != written
    again: Any = MNN.open(tmp_path / "m", done.source)
    assert again.layers == done.layers


@needs_mnn
def test_the_same_arguments_give_the_same_bytes(trained, feeds, mnn_simulation, tmp_path):
    """All three files; opened again, the artifact is the same."""
    frozen, record = trained
    exporter = load_registry().exporter("mnn")
    assert isinstance(exporter, ReopeningExporter)
    one, two = (
        exporter.export(frozen, ["logits"], record, tmp_path / name / "m", calibration=feeds)
        for name in "ab"
    )
    for first, second in zip(one.paths, two.paths, strict=True):
        assert first.read_bytes() == second.read_bytes()
    again: Any = exporter.open(tmp_path / "a" / "m", one.source)
    assert again.layers == one.layers
    assert mnn_simulation(again) == mnn_simulation(one)
    for old, new in zip(one.planned, again.planned, strict=True):
        assert (old.execution, old.input, old.output) == (new.execution, new.input, new.output)
        assert (old.result, old.reason) == (new.result, new.reason)


@needs_mnn
def test_a_layer_without_a_range_computes_with_floats_and_is_named(trained, tmp_path, caplog):
    """Without calibration the logits have no grid: a warning, and the file says it, too."""
    frozen, record = trained
    exporter = MNN
    with caplog.at_level(logging.WARNING, "graphquant_export"):
        done = exporter.export(frozen, ["logits"], record, tmp_path / "m")
    assert '"head/MatMul" (MatMul): the record has no grid of what it returns' in caplog.text
    assert " layers stay float in MNN: " in caplog.text
    runtime = exporter.runtime(done)
    executions = {row.layer: row for row in runtime.executions()}
    assert executions["head/MatMul"].execution == "int8 weights"
    assert "give calibration" in executions["head/MatMul"].reason
    assert executions["conv/Conv2D"].execution == "int8"
    assert runtime.output_step("logits") is None
    again = exporter.open(tmp_path / "m", done.source)
    assert [row.execution for row in again.planned] == [row.execution for row in done.planned]


@needs_mnn
def test_executions_tell_every_layer_of_the_plan(trained, feeds, tmp_path):
    """In the order of the graph, with the reason where one isn't int8."""
    frozen, record = trained
    exporter = MNN
    done = exporter.export(frozen, ["logits"], record, tmp_path / "m", calibration=feeds)
    runtime = exporter.runtime(done)
    rows = runtime.executions()
    assert [row.layer for row in rows] == list(record)
    by_name = {row.layer: row for row in rows}
    assert by_name["conv/Conv2D"] == LayerExecution(
        "conv/Conv2D", "Conv2D", "conv/bias_quant/BiasAdd", "int8", None
    )
    assert by_name["depthwise/depthwise"].execution == "float"
    assert "channel multiplier (2)" in by_name["depthwise/depthwise"].reason
    assert by_name["up/deconv"].execution == "int8"
    assert by_name["up/deconv"].reason is None
    assert by_name["pool/AvgPool"].execution == "float"
    assert runtime.layer_outputs(feeds).keys() == set(record)


@needs_mnn
def test_a_layer_that_is_not_in_the_record_is_float(tmp_path):
    """It is converted as it is, and its row says why it computes with floats."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 6, 6)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        y = tf.matmul(v1.placeholder(tf.float32, [None, 6], name="x"), first, name="first")
        tf.matmul(tf.nn.relu(y), second, name="second")
    x = rng.normal(size=(9, 6)).astype(np.float32)
    given = graph.as_graph_def(), ["second"]
    record = quantize_post_training(*given, {"x": x}, skip_layers=["second"])
    exporter = MNN
    done = exporter.export(*given, record, tmp_path / "m", calibration={"x": x})
    runtime = exporter.runtime(done)
    assert runtime.executions() == (
        LayerExecution("first", "MatMul", "first__matmul_converted", "int8", None),
        LayerExecution(
            "second", "MatMul", "second__matmul_converted", "float", "it is not in the record"
        ),
    )
    assert runtime.layer_outputs({"x": x}).keys() == {"first"}
    hidden = runtime.layer_outputs({"x": x})["first"].value
    np.testing.assert_allclose(runtime.run({"x": x}, ["second"])["second"], hidden @ second, 1e-4)


@needs_mnn
def test_the_runtime_computes_what_the_file_says(trained, feeds, tmp_path):
    """MNN runs the int8 layers with int8, and poolings and the other layers with floats."""
    frozen, record = trained
    done: Any = MNN.export(frozen, ["logits"], record, tmp_path / "m", calibration=feeds)
    ran = subprocess.run(
        [sys.executable, "-c", OBSERVE, done.model_path],
        capture_output=True,
        text=True,
        check=True,
    )
    types = json.loads(ran.stdout.splitlines()[-1])
    for layer in done.layers:
        assert ("[DT_INT8]" in types[layer.mnn_name]) == (layer.execution == "int8")
    assert types["pool/AvgPool"] == "Pooling"


@needs_mnn
@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("conv/Relu", "conv/Relo", UnsupportedLayerError, r'"conv/Conv2D" .* stayed float'),
        ("0.0213", "0.0214", RangeError, r'"conv/Conv2D" .* grid of its activation .*0.0214'),
        ("0.0523", "0.0524", RangeError, r'"head/Conv2D" .* grid of its result .*0.0524'),
        ('"zero_point": 11', '"zero_point": 12', RangeError, r'"head/Conv2D" .* result .*12'),
    ],
)
def test_a_model_that_is_not_the_record_is_refused(
    trained, feeds, tmp_path, monkeypatch, old, new, error, words
):
    """A layer that stays float, and any other number, is an error that names the layer; nothing is
    written, and older files are as they were.
    """
    frozen, record = trained
    honest = export_int8.int8_params

    def params(*arguments: Any) -> str:
        text = honest(*arguments)
        assert old in text
        return text.replace(old, new)

    monkeypatch.setattr(export_int8, "int8_params", params)
    (tmp_path / "m.mnn").write_bytes(b"older")
    with pytest.raises(error, match=words):
        MNN.export(frozen, ["logits"], record, tmp_path / "m", calibration=feeds)
    assert [path.name for path in tmp_path.iterdir()] == ["m.mnn"]
    assert (tmp_path / "m.mnn").read_bytes() == b"older"


@needs_mnn
def test_another_weight_scale_is_refused(trained, feeds, tmp_path, monkeypatch):
    """The codes that follow from it are not the record's."""
    frozen, record = trained
    honest = export_int8.int8_params

    def params(*arguments: Any) -> str:
        document = json.loads(honest(*arguments))
        layers = document["algo"][0]["quant_params"]["layer"]
        weight = next(row for row in layers if row["op_name"].startswith("head/"))["weight"][0]
        weight["scales"] = [1.25 * scale for scale in weight["scales"]]
        return json.dumps(document)

    monkeypatch.setattr(export_int8, "int8_params", params)
    with pytest.raises(RangeError, match=r'"head/Conv2D" .*: \d+ of 240 weights have other codes'):
        MNN.export(frozen, ["logits"], record, tmp_path / "m", calibration=feeds)
    assert not list(tmp_path.iterdir())


@needs_mnn
@pytest.mark.parametrize(
    ("calibration", "error", "words"),
    [
        ({"imag": np.zeros((1, 8, 8, 3))}, ConfigError, 'did you mean "image"'),
        ({"image": np.zeros((1, 9, 8, 3))}, RangeError, r"\[1, 9, 8, 3\]"),
        ({"image": np.full((1, 8, 8, 3), np.nan)}, Exception, "NaN"),
    ],
)
def test_calibration_that_does_not_fit_is_refused(trained, tmp_path, calibration, error, words):
    """It names the placeholder; nothing is written."""
    frozen, record = trained
    with pytest.raises(error, match=words):
        MNN.export(frozen, ["logits"], record, tmp_path / "m", calibration=calibration)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("record", ["record.txt", 7, [LayerFactors(0.1, 0)]])
def test_a_record_of_another_kind_is_refused(trained, tmp_path, record):
    """The message says what makes an int8 model and what one of quantised weights."""
    frozen, _ = trained
    with pytest.raises(RecordError, match=r"must be a Record.* WeightRecord"):
        MNN.export(frozen, ["logits"], record, tmp_path / "m")


def test_an_output_that_is_not_there_is_named(trained, tmp_path):
    """Before anything is converted."""
    frozen, record = trained
    with pytest.raises(OutputNotFoundError, match=r'"logit".*"logits"'):
        MNN.export(frozen, ["logit"], record, tmp_path / "m")


def test_without_the_wheel_the_error_says_what_to_install(trained, tmp_path, monkeypatch):
    """MissingDependencyError, and nothing is written."""
    frozen, record = trained

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("graphquant_export.targets.mnn.wheel.importlib.metadata.version", version)
    with pytest.raises(MissingDependencyError, match=r'pip install "graphquant-export\[mnn\]"'):
        MNN.export(frozen, ["logits"], record, tmp_path / "m")
    assert not list(tmp_path.iterdir())


@needs_mnn
@pytest.mark.parametrize(
    ("activation", "weights_alone"), [("relu", False), ("relu", True), ("relu6", True)]
)
def test_an_output_that_mnn_merges_with_what_takes_it_is_refused(
    tmp_path, activation, weights_alone
):
    """A convolution and the activation function behind it are one op in MNN: one of the two."""
    rng = np.random.default_rng(0)
    weight = (rng.integers(-127, 128, (3, 3, 3, 4)) / 127).astype(np.float32)
    weight[0, 0, 0] = 1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 3], name="x")
        y = tf.nn.conv2d(x, weight, 1, "SAME", name="c")
        getattr(tf.nn, activation)(y, name="y")
    model, feeds = graph.as_graph_def(), {"x": rng.normal(size=(8, 6, 6, 3)).astype(np.float32)}
    record: Any = [LayerParams("c", 8, False)]
    if not weights_alone:
        record = quantize_post_training(model, ["y"], feeds)
    exporter = MNN
    with pytest.raises(UnsupportedLayerError, match=r'output "c" is not in the MNN model.*merges'):
        exporter.export(model, ["y", "c"], record, tmp_path / "m", calibration=feeds)
    assert not list(tmp_path.iterdir())
    exporter.export(model, ["y"], record, tmp_path / "m", calibration=feeds)


@needs_mnn
def test_an_output_that_is_an_input_is_what_was_fed(tmp_path):
    """MNN computes with the memory of its inputs, so that it can't be read there afterwards."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 3], name="x")
        tf.identity(tf.nn.conv2d(x, weight, 1, "SAME", name="c"), name="y")
    model, feeds = graph.as_graph_def(), {"x": rng.normal(size=(8, 6, 6, 3)).astype(np.float32)}
    record = quantize_post_training(model, ["y"], feeds)
    exporter = MNN
    done: Any = exporter.export(model, ["x", "y"], record, tmp_path / "m", calibration=feeds)
    found = exporter.runtime(done).run(feeds, ["x", "y"])
    np.testing.assert_array_equal(found["x"], feeds["x"])
    assert found["y"].shape == (8, 6, 6, 4)


@needs_mnn
def test_the_runtime_names_what_it_is_asked_for_in_vain(trained, feeds, tmp_path):
    """A placeholder or an output that isn't there, with the closest name."""
    frozen, record = trained
    exporter = MNN
    done = exporter.export(frozen, ["logits"], record, tmp_path / "m", calibration=feeds)
    runtime = exporter.runtime(done)
    with pytest.raises(ModelFileError, match=r'"logit".*"logits"'):
        runtime.run(feeds, ["logit"])
    with pytest.raises(ConfigError, match='did you mean "image"'):
        runtime.run({"imag": feeds["image"]}, ["logits"])
    done.model_path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="is not an MNN model"):
        exporter.runtime(done)
    done.model_path.unlink()
    with pytest.raises(ModelFileError, match=r"m\.mnn"):
        exporter.open(tmp_path / "m", done.source)


@needs_mnn
@pytest.mark.parametrize("dtype", [tf.uint8, tf.int32, tf.int64])
def test_inputs_of_integers_are_fed_as_such(mnn_simulation, tmp_path, dtype):
    """The model gets the numbers that TensorFlow gets."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        given = v1.placeholder(dtype, [None, 6, 6, 3], name="x")
        x = tf.cast(given, tf.float32) / 16.3
        y = tf.nn.conv2d(x, rng.normal(size=(3, 3, 3, 4)).astype(np.float32), 1, "SAME", name="c")
        tf.identity(y, name="y")
    graph_def = graph.as_graph_def()
    x = rng.integers(0, 255, (2, 6, 6, 3)).astype(dtype.as_numpy_dtype)
    record = quantize_post_training(graph_def, ["y"], {"x": x}, activation="min_max")
    exporter = MNN
    done: Any = exporter.export(graph_def, ["y"], record, tmp_path / "m", calibration={"x": x})
    runtime = exporter.runtime(done)
    got = runtime.run({"x": x}, ["y"])["y"]
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(mnn_simulation(done), name="")
        expected = session.run("y:0", {"x:0": x})
    assert np.abs(got - expected).max() <= 1.01 * runtime.output_step("y")
    assert np.isclose(got, expected, atol=1e-4).mean() > 0.99


@needs_mnn
def test_integers_that_mnn_does_not_hold_are_refused(tmp_path):
    """MNN's integers are int32: a larger int64 is an error, and doesn't wrap around."""
    (tmp_path / "m.mnn").write_bytes(b"MNN")
    with pytest.raises(RangeError, match=r'"x" has values from 1 to 2147483648; MNN takes int32'):
        run_mnn_model(tmp_path / "m.mnn", {"x": np.array([1, 2**31])}, ["y"])


@needs_mnn
def test_a_model_of_quantised_weights_has_the_same_runtime(tmp_path):
    """Layers, executions and results under TensorFlow's names; opened again, too."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 20)).astype(np.float32)
    weight = rng.normal(size=(20, 5)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        fed = v1.placeholder(tf.float32, [None, 20], name="x")
        tf.nn.relu(tf.matmul(fed, weight, name="dense"), name="y")
    (layer,) = plan_for_mnn(graph).layers
    grouping = mnn_grouping(layer)
    on_grid = grouping.weight(mnn_quantize(grouping.rows(weight), 4, False).values())
    with tf.Graph().as_default() as graph:
        fed = v1.placeholder(tf.float32, [None, 20], name="x")
        y = tf.nn.relu(tf.matmul(fed, on_grid, name="dense"), name="y")
        tf.tanh(tf.matmul(y, np.eye(5, dtype=np.float32), name="other"), name="z")
    exporter = MNN
    params = [LayerParams("dense__matmul_converted", 4, False)]
    done = exporter.export(graph.as_graph_def(), ["z"], params, tmp_path / "m")
    assert exporter.open(tmp_path / "m", done.source) == done
    runtime = exporter.runtime(done)
    assert [(row.layer, row.execution) for row in runtime.executions()] == [
        ("dense", "int4 weights"),
        ("other", "float"),
    ]
    found = runtime.layer_outputs({"x": x})["dense"]
    assert found.tensor == "y"
    assert found.step is None
    np.testing.assert_allclose(found.value, np.maximum(x @ on_grid, 0), atol=1e-5)
    assert runtime.output_step("z") is None
    got = runtime.run({"x": x}, ["z"])["z"]
    np.testing.assert_allclose(got, np.tanh(found.value), atol=1e-4)
