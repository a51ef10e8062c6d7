"""Converting, and comparing what came out."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    MissingDependencyError,
    ModelFileError,
    UnsupportedLayerError,
)
from graphquant_export.targets.mnn import (
    ConverterCommand,
    LayerParams,
    convert,
    mnn_grouping,
    mnn_quantize,
    read_mnn_layers,
    run_mnn_model,
    save_compress_params,
)
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.verify import compare_weights

v1 = tf.compat.v1

NAMES = {
    "conv": "conv",
    "pointwise": "pointwise",
    "depthwise": "depthwise",
    "deconv": "deconv",
    "dense": "dense__matmul_converted",
    "transposed": "transposed__matmul_converted",
}


def _convert(model: Any, folder: Path, params: list[LayerParams]) -> Path:
    save_compress_params(folder / "params.bin", params)
    return convert(
        ConverterCommand(model.save(folder), folder / "model.mnn", folder / "params.bin")
    )


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_weights_on_the_grid_come_out_as_they_went_in(
    all_layers: Callable[..., Any], tmp_path: Path, bits: int, asymmetric: bool
) -> None:
    """No mismatch in any kind of layer, and MNN computes what TensorFlow does."""
    drawn = all_layers()
    on_grid = {}
    for layer in plan_for_mnn(_graph(drawn)).layers:
        grouping = mnn_grouping(layer)
        stored = mnn_quantize(grouping.rows(drawn.weights[layer.name]), bits, asymmetric)
        on_grid[layer.name] = grouping.weight(stored.values())
    model = all_layers(on_grid)
    params = [LayerParams(name, bits, asymmetric) for name in NAMES.values()]
    written = _convert(model, tmp_path, params)
    found = compare_weights(model.graph_def, written, params)
    assert [row.mnn_name for row in found] == list(NAMES.values())
    assert [row.mismatches for row in found] == [0] * len(NAMES)
    assert max(row.scale_error for row in found) < 1e-6
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 32)).astype(np.float32)
    with v1.Session(graph=_graph(model)) as session:
        expected = session.run("prob:0", {"x:0": x})
    np.testing.assert_allclose(
        run_mnn_model(written, {"x": x}, ["prob"])["prob"], expected, atol=1e-6
    )


@pytest.mark.usefixtures("mnn")
def test_weights_off_the_grid_are_counted(all_layers: Callable[..., Any], tmp_path: Path) -> None:
    """A weight that was never put on a grid has mismatches; the test above can fail."""
    params = [LayerParams("conv", 3, False)]
    model = all_layers()
    found = compare_weights(model.graph_def, _convert(model, tmp_path, params), params)
    assert found[0].mismatches > 1000


@pytest.mark.usefixtures("mnn")
def test_a_layer_that_stayed_float_is_an_error_with_its_name(
    all_layers: Callable[..., Any], tmp_path: Path
) -> None:
    """The converter passes over a name that it doesn't know without a word; this doesn't."""
    model = all_layers()
    written = _convert(model, tmp_path, [LayerParams("Conv", 4, True)])
    assert read_mnn_layers(written)["conv"].weight is None
    with pytest.raises(UnsupportedLayerError, match=r'"conv".* stayed float'):
        compare_weights(model.graph_def, written, [LayerParams("conv", 4, True)])
    with pytest.raises(UnsupportedLayerError, match=r'"Conv".*did you mean "conv"'):
        compare_weights(model.graph_def, written, [LayerParams("Conv", 4, True)])


@pytest.mark.usefixtures("mnn")
def test_other_bits_or_another_mode_are_an_error(
    all_layers: Callable[..., Any], tmp_path: Path
) -> None:
    """What the parameters say must be what the model has."""
    model = all_layers()
    written = _convert(model, tmp_path, [LayerParams("conv", 4, True)])
    with pytest.raises(UnsupportedLayerError, match=r"4 bits, asymmetric.*3 bits, symmetric"):
        compare_weights(model.graph_def, written, [LayerParams("conv", 3, False)])


@pytest.mark.usefixtures("mnn")
def test_a_graph_that_cannot_be_converted_leaves_the_old_model(tmp_path: Path) -> None:
    """The error holds what the converter printed, and the model of an earlier run is whole."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2, 3], name="x")
        tf.einsum("ij,jk->ik", x, tf.ones([3, 4]), name="product")
    (tmp_path / "frozen.pb").write_bytes(graph.as_graph_def().SerializeToString())
    (tmp_path / "model.mnn").write_bytes(b"from an earlier run")
    with pytest.raises(ModelFileError, match="MNN cannot convert model_file"):
        convert(ConverterCommand(tmp_path / "frozen.pb", tmp_path / "model.mnn"))
    assert (tmp_path / "model.mnn").read_bytes() == b"from an earlier run"


@pytest.mark.parametrize("where", [0, 3, 6])
def test_a_crash_of_the_converter_names_the_first_op_with_it(tmp_path: Path, where: int) -> None:
    """Here one that takes a constant of which no value is written, which MNN reads past its end."""
    with tf.Graph().as_default() as graph:
        y = v1.placeholder(tf.float32, [None, 1024], name="x")
        for number in range(7):
            y = tf.sigmoid(tf.add(y, np.zeros(1024, np.float32), name=f"add{number}"))
        tf.identity(y, name="out")
    model = graph.as_graph_def()
    (zeros,) = [node for node in model.node if node.name == f"add{where}/y"]
    zeros.attr["value"].tensor.ClearField("tensor_content")
    zeros.attr["value"].tensor.ClearField("float_val")
    (tmp_path / "crash.pb").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=rf'crashed .* holds "add{where}" \(Add'):
        convert(ConverterCommand(tmp_path / "crash.pb", tmp_path / "m.mnn"))


@pytest.mark.usefixtures("mnn")
def test_missing_parameters_are_an_error_and_no_template_appears(
    all_layers: Callable[..., Any], tmp_path: Path
) -> None:
    """The converter alone would write a template there and quantise nothing."""
    command = ConverterCommand(
        all_layers().save(tmp_path), tmp_path / "model.mnn", tmp_path / "params.bin"
    )
    with pytest.raises(ModelFileError, match="params_file"):
        convert(command)
    assert not (tmp_path / "params.bin").exists()
    assert not (tmp_path / "model.mnn").exists()


def test_without_the_wheel_the_error_says_how_to_install_it(
    all_layers: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The install line is in the message."""

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(MissingDependencyError, match=r"pip install .*graphquant-export\[mnn\]"):
        convert(ConverterCommand(all_layers().save(tmp_path), tmp_path / "model.mnn"))


def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    """Reading garbage as .mnn names the file."""
    for content in (b"", b"garbage", bytes(range(256)) * 4):
        (tmp_path / "model.mnn").write_bytes(content)
        with pytest.raises(ModelFileError, match=r"model\.mnn"):
            read_mnn_layers(tmp_path / "model.mnn")


def test_the_command_is_one_line_for_a_shell() -> None:
    """Paths are quoted, and the console script that phones home is not used."""
    text = str(ConverterCommand("a b.pb", "m.mnn", "p.bin"))
    assert "'a b.pb'" in text
    assert "--compressionParamsFile p.bin" in text
    assert "MNN.tools" not in text


def _graph(model: Any) -> tf.Graph:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(model.graph_def, name="")
    return graph
