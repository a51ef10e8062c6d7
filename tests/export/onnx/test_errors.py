"""What the target onnx refuses, and that nothing is written then."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    ConfigError,
    FileWriteError,
    MissingDependencyError,
    ModelFileError,
    OutputNotFoundError,
    RangeError,
    RecordError,
    UnsupportedLayerError,
)
from graphquant_core.record import LayerFactors, Record
from graphquant_core.registry import load_registry
from graphquant_export.targets.onnx.export import export_onnx

v1 = tf.compat.v1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"opset": 12}, ConfigError, r"opset \(12\).*from 13"),
        ({"opset": 1000}, ConfigError, r"opset \(1000\)"),
        ({"opset": "17"}, ConfigError, r"opset \('17'\)"),
        ({"opset": True}, ConfigError, r"opset \(True\)"),
        ({"activations": "int4"}, ConfigError, r'activations \(\'int4\'\) must be "int8" or'),
        ({"calibration": {"z": 1.0}}, ConfigError, '"z" is not a placeholder'),
        ({"calibration": {"x": np.zeros((1, 2))}}, RangeError, "calibration.*the model takes"),
        ({"outputs": ["block/layr"]}, OutputNotFoundError, 'did you mean "block/layer"'),
        ({"record": Record({"block/other": LayerFactors(0.1, 0, [0.1])})}, RecordError, "other"),
    ],
)
def test_wrong_arguments_are_refused_by_name(layer_model, tmp_path, options, error, words):
    """The error names the argument, its value and what is allowed; no file is written."""
    model = layer_model("Conv2D", "bias")
    arguments = {"outputs": ["y"], "record": model.record(), **options}
    with pytest.raises(error, match=words):
        export_onnx(model.graph_def, save_path=tmp_path / "m", **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("save_path", ["", "folder/", "file/m", 3])
def test_an_unwritable_path_is_refused(layer_model, tmp_path, monkeypatch, save_path):
    """A path that can't be written is an error with its name, before anything is converted."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    model = layer_model("Conv2D", "bias")
    with pytest.raises(FileWriteError, match="save_path"):
        export_onnx(model.graph_def, ["y"], model.record(), save_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interrupted_export_leaves_the_older_file(layer_model, tmp_path, monkeypatch):
    """When the file can't be flushed, an older one stays whole and nothing is added."""
    model = layer_model("Conv2D", "bias")
    artifact = export_onnx(model.graph_def, ["y"], model.record(), tmp_path / "m")
    before = artifact.model_path.read_bytes()

    def fail(_):
        raise OSError("no space")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(FileWriteError, match=r"m\.onnx.*no space"):
        export_onnx(model.graph_def, ["y"], model.record(scale_d=0.05), tmp_path / "m")
    assert artifact.model_path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_an_op_that_onnx_lacks_is_refused_by_name(layer_model, tmp_path):
    """A TensorFlow op without counterpart is an error that names it and its type."""
    model = layer_model("Conv2D", "bias")
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(model.graph_def, name="")
        (z,) = tf.import_graph_def(model.graph_def, name="again", return_elements=["y:0"])
        tf.raw_ops.Betainc(a=z, b=z, x=z, name="special")
    with pytest.raises(UnsupportedLayerError, match=r'"special" \(Betainc\)'):
        export_onnx(graph.as_graph_def(), ["y", "special"], model.record(), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_layer_in_a_branch_is_refused_by_name(tmp_path):
    """tf2onnx makes a subgraph of a cond; a quantised layer in it is an error with its name."""
    weight = np.random.default_rng(0).normal(size=(1, 1, 2, 3)).astype(np.float32)
    control_flow_v2 = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [1, 2, 2, 2], name="x")
            taken = v1.placeholder(tf.bool, [], name="taken")
            y = v1.cond(
                taken,
                lambda: tf.nn.conv2d(x, tf.constant(weight), 1, "SAME", name="layer") + 1.0,
                lambda: tf.zeros([1, 2, 2, 3]),
            )
            tf.identity(y, name="y")
    finally:
        if control_flow_v2:
            v1.enable_control_flow_v2()
    record = Record({"cond/layer": LayerFactors(0.02, 0, [0.02])})
    with pytest.raises(UnsupportedLayerError, match="cond/layer"):
        export_onnx(graph.as_graph_def(), ["y"], record, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_frozen_is_refused(five_layers, tmp_path):
    """A graph with variables is refused with the function that freezes it."""
    graph = five_layers(constants=False)
    record = Record({"head/MatMul": LayerFactors(0.02, 0, [0.02])})
    with pytest.raises(ModelFileError, match=r"not frozen"):
        export_onnx(graph.as_graph_def(), ["logits"], record, tmp_path / "m")


SCRIPT = """
import sys
sys.modules[sys.argv[1]] = None
from graphquant_core.exceptions import MissingDependencyError
from graphquant_core.registry import load_registry
try:
    load_registry().exporters["onnx"].export(None, [], None, "")
except MissingDependencyError as error:
    print(error)
"""


@pytest.mark.parametrize("wheel", ["onnx", "tf2onnx"])
def test_a_missing_wheel_is_an_error_with_the_command_that_installs_it(wheel):
    """The export names the wheel and the extra; the registry works without it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, wheel], capture_output=True, text=True, check=True
    )
    assert f"needs {wheel}" in done.stdout
    assert 'pip install "graphquant-export[onnx]"' in done.stdout


def test_a_missing_runtime_is_an_error_with_the_command_that_installs_it(
    layer_model, tmp_path, monkeypatch
):
    """An export needs no onnxruntime, and what runs it says so."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = layer_model("Conv2D", "bias")
    exporter = load_registry().exporters["onnx"]
    artifact = exporter.export(model.graph_def, ["y"], model.record(), tmp_path / "m")
    with pytest.raises(MissingDependencyError, match=r"onnxruntime.*graphquant-export\[onnx\]"):
        exporter.runtime(artifact)
