"""What every target says of wrong arguments, in the same words."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core import load_registry
from graphquant_core.exceptions import (
    ConfigError,
    EmptyRecordError,
    FileWriteError,
    RecordError,
)
from graphquant_export import Record
from graphquant_export.inputs import LoadedModel
from graphquant_export.post_training import quantize_post_training

WHEELS = {"ascend": "tensorflow", "mnn": "MNN", "onnx": "tf2onnx", "litert": "tensorflow"}


@pytest.fixture(params=WHEELS)
def exporter(request: pytest.FixtureRequest) -> Any:
    if find_spec(WHEELS[request.param]) is None:
        pytest.skip(f"{request.param} is not installed")
    return load_registry().exporters[request.param]


@pytest.fixture(scope="module")
def model() -> tuple[Any, Record]:
    """A frozen convolution and its record."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4, 4, 3], "x")
        kernel = random.normal(size=(3, 3, 3, 4)).astype(np.float32)
        tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", name="conv"), name="y")
    graph_def = graph.as_graph_def()
    batch = {"x": random.normal(size=(4, 4, 4, 3)).astype(np.float32)}
    return graph_def, quantize_post_training(graph_def, ["y"], batch)


@pytest.mark.parametrize("save_path", [None, 3, "", "folder/"])
def test_a_save_path_that_names_no_file_is_refused(
    exporter: Any, model: tuple[Any, Record], tmp_path: Path, monkeypatch: Any, save_path: Any
) -> None:
    """One error of ours, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileWriteError, match="save_path"):
        exporter.export(model[0], ["y"], model[1], save_path)
    assert not list(tmp_path.iterdir())


def test_a_record_without_layers_is_refused(
    exporter: Any, model: tuple[Any, Record], tmp_path: Path
) -> None:
    """A float model is not passed off as a quantised one."""
    with pytest.raises(EmptyRecordError, match="holds no layer"):
        exporter.export(model[0], ["y"], Record({}), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_path_is_no_model(exporter: Any, model: tuple[Any, Record], tmp_path: Path) -> None:
    """Exporters and quantisers take a GraphDef; the error says where it comes from."""
    with pytest.raises(ConfigError, match=r"model \(str\) must be a GraphDef.*load_model"):
        exporter.export("frozen.pb", ["y"], model[1], tmp_path / "model")
    with pytest.raises(ConfigError, match=r"model \(LoadedModel\) must be a GraphDef"):
        quantize_post_training(LoadedModel(model[0], ("x",), ("y",)), ["y"], {})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("record", [None, "record.txt", {"conv": 0.1}])
def test_what_is_no_record_is_refused(
    exporter: Any, model: tuple[Any, Record], tmp_path: Path, record: Any
) -> None:
    """A path or a dictionary is named by its type."""
    with pytest.raises(RecordError, match=r"record \(\w+\) must be a Record"):
        exporter.export(model[0], ["y"], record, tmp_path / "model")
    assert not list(tmp_path.iterdir())
