"""The export target mnn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    OutputNotFoundError,
    RangeError,
    RecordError,
    UnsupportedLayerError,
)
from graphquant_core.exporter import Exporter
from graphquant_core.registry import load_registry
from graphquant_export.targets.mnn import (
    ConverterCommand,
    LayerParams,
    mnn_grouping,
    mnn_quantize,
    read_compress_params,
    run_mnn_model,
)
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.verification import verify

v1 = tf.compat.v1

BITS = 3
INPUT = np.random.default_rng(8).normal(size=(1, 8, 8, 32)).astype(np.float32)
NAMES = ("conv", "pointwise", "depthwise", "deconv", "dense", "transposed")


def _params() -> list[LayerParams]:
    ending = {"dense": "__matmul_converted", "transposed": "__matmul_converted"}
    return [LayerParams(name + ending.get(name, ""), BITS, True) for name in NAMES]


@pytest.fixture
def exporter() -> Exporter:
    """The exporter that the plugins register under the name mnn."""
    return load_registry().exporters["mnn"]


@pytest.fixture
def on_grid(all_layers: Callable[..., Any]) -> Any:
    """A frozen graph whose weights are on the grids of three bits."""
    drawn = all_layers()
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(drawn.graph_def, name="")
    weights = {}
    for layer in plan_for_mnn(graph).layers:
        grouping = mnn_grouping(layer)
        rows = mnn_quantize(grouping.rows(drawn.weights[layer.name]), BITS, True).values()
        weights[layer.name] = grouping.weight(rows)
    return all_layers(weights).graph_def


@pytest.mark.usefixtures("mnn")
def test_an_export_writes_the_model_and_what_it_was_made_from(
    exporter: Exporter, on_grid: Any, tmp_path: Path
) -> None:
    """The .mnn computes what the .pb does, and its weights are the frozen ones."""
    done: Any = exporter.export(on_grid, ["prob"], _params(), tmp_path / "out" / "small")
    assert [path.name for path in done.paths] == ["small.mnn", "small.pb", "small.json"]
    assert all(path.parent == tmp_path / "out" for path in done.paths)
    assert sorted(layer.name for layer in done.layers) == sorted(NAMES)
    assert all(layer.mismatches == 0 and layer.bits == BITS for layer in done.layers)
    assert list(read_compress_params(done.params_path)) == _params()
    assert done.command == ConverterCommand(done.frozen_path, done.model_path, done.params_path)
    frozen = v1.GraphDef.FromString(done.frozen_path.read_bytes())
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(frozen, name="")
        expected = session.run("prob:0", {"x:0": INPUT})
    found = run_mnn_model(done.model_path, {"x": INPUT}, ["prob"])["prob"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.usefixtures("mnn")
def test_the_same_model_gives_the_same_bytes(
    exporter: Exporter, on_grid: Any, tmp_path: Path
) -> None:
    """All three files; the identity in them is another one for another model."""
    one, two = (exporter.export(on_grid, ["prob"], _params(), tmp_path / n / "m") for n in "ab")
    for first, second in zip(one.paths, two.paths, strict=True):
        assert first.read_bytes() == second.read_bytes()
    other = exporter.export(on_grid, ["prob"], _params()[:1], tmp_path / "c" / "m")
    identities = [json.loads(done.paths[2].read_text())["mnn_uuid"] for done in (one, other)]
    assert identities[0] != identities[1]
    for done, identity in zip((one, other), identities, strict=True):
        assert identity.encode() in done.paths[0].read_bytes()


@pytest.mark.usefixtures("mnn")
def test_weights_off_the_grid_are_an_error_that_names_the_layer(
    exporter: Exporter, all_layers: Callable[..., Any], tmp_path: Path
) -> None:
    """Nothing is written for a graph that was frozen before its weights were on the grid."""
    with pytest.raises(RangeError, match=r'layer "conv": \d+ of 1728 weights .* 3 bits'):
        exporter.export(all_layers().graph_def, ["prob"], _params(), tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("mnn")
def test_a_layer_that_is_not_in_the_model_is_named(
    exporter: Exporter, on_grid: Any, tmp_path: Path
) -> None:
    """A misspelt layer is an error, with the closest name; nothing is written."""
    params = [LayerParams("deconf", BITS, True), *_params()]
    with pytest.raises(UnsupportedLayerError, match=r'"deconf".*"deconv"'):
        exporter.export(on_grid, ["prob"], params, tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", [[], [("conv", 3)]])
def test_a_record_without_layer_params_is_refused(
    exporter: Exporter, on_grid: Any, tmp_path: Path, record: list[Any]
) -> None:
    """Before anything is converted."""
    with pytest.raises(RecordError, match=r"WeightQuantizer"):
        exporter.export(on_grid, ["prob"], record, tmp_path / "small")


def test_an_unknown_output_is_refused(exporter: Exporter, on_grid: Any, tmp_path: Path) -> None:
    """Before anything is converted."""
    with pytest.raises(OutputNotFoundError, match="probe"):
        exporter.export(on_grid, ["probe"], _params(), tmp_path / "small")


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize(
    "attributes",
    [
        {"padding": [[0, 0], [0, 0], [1, 2], [1, 2]], "data_format": "NCHW"},
        {"padding": [[0, 0], [1, 2], [0, 1], [0, 0]]},
    ],
    ids=["NCHW", "NHWC"],
)
def test_explicit_padding_is_that_of_tensorflow(
    exporter: Exporter, tmp_path: Path, attributes: dict[str, Any]
) -> None:
    """MNN's converter alone takes it for SAME, without a word."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [1, 4, 4, 4], "x")
        kernel = random.normal(size=(3, 3, 4, 4)).astype(np.float32)
        y = tf.nn.conv2d(x, kernel, 1, name="conv", **attributes)
        y = tf.reshape(y, [1, -1])
        codes = random.integers(-3, 4, (int(y.shape[1]), 4)).astype(np.float32)
        codes[0] = 3
        tf.identity(tf.matmul(y, codes * 0.5, name="dense"), name="out")
    params = [LayerParams("dense__matmul_converted", 3, False)]
    artifact = exporter.export(graph.as_graph_def(), ["out"], params, tmp_path / "m")
    (output,) = verify(artifact, {"x": random.normal(size=(1, 4, 4, 4))}).outputs
    assert output.simulation.largest < 0.01
