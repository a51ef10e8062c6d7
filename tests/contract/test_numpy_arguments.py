"""NumPy's integers and bools, and paths, stand wherever Python's own may."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_export as gq
import graphquant_qat as amct
from graphquant_core.exceptions import BitsError, ConfigError
from graphquant_core.grid import Grid
from graphquant_core.record import LayerFactors, Record, format_record, read_record
from graphquant_core.value_grid import ValueGrid
from graphquant_export.post_training import quantize_post_training
from graphquant_export.targets.mnn import LayerParams, save_compress_params
from graphquant_export.targets.onnx import export_onnx
from graphquant_export.verification import verify
from graphquant_wq import WeightQuantizer, quantize_frozen_weights

v1 = tf.compat.v1

INTEGERS = [np.int64, np.int32, np.uint8, np.int8, np.intp, np.asarray]


def build() -> tf.Graph:
    """A convolution and a dense layer."""
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(3)
        x = v1.placeholder(tf.float32, [None, 6, 6, 16], "image")
        y = tf.nn.conv2d(x, v1.get_variable("k", [3, 3, 16, 4]), 2, "VALID", name="conv")
        y = tf.reshape(tf.nn.relu(y), [-1, 16])
        tf.matmul(y, v1.get_variable("w", [16, 3]), name="y")
    return graph


@pytest.fixture(scope="module")
def model() -> Any:
    """The frozen graph."""
    with build().as_default() as graph, v1.Session() as session:
        session.run(v1.global_variables_initializer())
        return v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["y"])


@pytest.fixture(scope="module")
def samples() -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).random((8, 6, 6, 16), np.float32)}


@pytest.mark.parametrize("integer", INTEGERS)
def test_bits_and_sizes(integer: Callable[[int], Any], model: Any) -> None:
    """Grids, weight quantisers and compression parameters are those of Python's numbers."""
    assert Grid(integer(4), narrow=np.bool_(True)) == Grid(4, narrow=True)
    assert LayerParams("a", integer(4), np.bool_(False), integer(16)) == LayerParams(
        "a", 4, False, 16
    )
    given = {
        "bits": integer(4),
        "asymmetric": np.bool_(True),
        "layer_bits": {"conv": integer(3)},
        "block_size": integer(16),
        "keep_zeros": np.bool_(False),
    }
    plain = {
        "bits": 4, "asymmetric": True, "layer_bits": {"conv": 3}, "block_size": 16,
        "keep_zeros": False,
    }  # fmt: skip
    one, other = (
        quantize_frozen_weights(model, ["y"], uniform=True, **options) for options in (given, plain)
    )
    assert one.params == other.params
    assert one.graph_def == other.graph_def
    graph = build()
    first = WeightQuantizer(graph, **given)
    again = WeightQuantizer(graph, **plain)
    with v1.Session(graph=graph) as session:
        session.run([v.initializer for v in graph.get_collection(v1.GraphKeys.GLOBAL_VARIABLES)])
        first.init(session)
    assert again.compress_params() == one.params


@pytest.mark.parametrize("wrong", [np.bool_(True), np.float32(4), np.array([4]), np.int64(9)])
def test_what_is_no_number_of_bits_stays_one(wrong: Any, model: Any) -> None:
    """A bool, a float, several numbers and one beyond the range are refused with their value."""
    with pytest.raises(BitsError, match=r"^bits \("):
        quantize_frozen_weights(model, ["y"], wrong)
    with pytest.raises(BitsError, match=r"^bits \("):
        LayerParams("a", wrong, False)
    with pytest.raises(ConfigError, match=r"^asymmetric \("):
        quantize_frozen_weights(model, ["y"], 4, asymmetric=np.int64(1))  # type: ignore[arg-type]


def test_compress_params_are_written(tmp_path: Path) -> None:
    """JSON knows no NumPy number."""
    params = [LayerParams("a", np.int64(4), np.bool_(True), np.int64(32))]
    save_compress_params(tmp_path / "a.json", params)
    save_compress_params(str(tmp_path / "b.json"), [LayerParams("a", 4, True, 32)])
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_records() -> None:
    """Factors and grids made of NumPy's numbers are those of Python's, and are written alike."""
    one = Record(
        {"conv": LayerFactors(np.float64(0.5), np.int64(-3), np.float32([0.25]))},
        value_grids={"y:0": ValueGrid(np.float32(0.5), np.int16(7))},
    )
    other = Record({"conv": LayerFactors(0.5, -3, [0.25])}, value_grids={"y:0": ValueGrid(0.5, 7)})
    assert one == other
    assert repr(one["conv"]) == repr(other["conv"])
    assert format_record(one) == format_record(other)
    assert json.dumps(one["conv"].offset_d) == "-3"


def test_exports_and_verifications(
    model: Any, samples: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Batch sizes, opsets, flags and paths."""
    record = quantize_post_training(model, ["y"], samples, batch_size=np.int64(3))
    assert record == quantize_post_training(model, ["y"], samples, batch_size=3)
    pytest.importorskip("onnxruntime")
    artifact = export_onnx(model, ["y"], record, tmp_path / "a", opset=np.int64(17))
    export_onnx(model, ["y"], record, str(tmp_path / "b"), opset=17)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    found = verify(artifact, samples, layers=np.bool_(True), batch_size=np.int64(4))
    assert found.to_json() == verify(artifact, samples, layers=True, batch_size=4).to_json()
    with pytest.raises(ConfigError, match=r"opset \(np.int64\(3\)\)"):
        export_onnx(model, ["y"], record, tmp_path / "a", opset=np.int64(3))


def test_calls_of_training_take_paths(tmp_path: Path) -> None:
    """All four AMCT calls, with a pathlib.Path in the place of every text."""
    config, record, cfg = tmp_path / "c.json", tmp_path / "r.txt", tmp_path / "a.cfg"
    cfg.write_text("batch_num: 1")
    graph = build()
    amct.create_quant_retrain_config(config, graph, cfg)
    ops = amct.create_quant_retrain_model(graph, config, record)
    with graph.as_default():
        loss = tf.reduce_sum(tf.square(graph.get_tensor_by_name("y:0")))
        step = v1.train.GradientDescentOptimizer(0.001).minimize(loss)
    with v1.Session(graph=graph) as session:
        with graph.as_default():
            session.run(v1.global_variables_initializer())
        session.run(step, {"image:0": np.ones((2, 6, 6, 16), np.float32)})
        session.run(ops[-1])
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["y"])
    (tmp_path / "f.pb").write_bytes(frozen.SerializeToString())
    amct.save_quant_retrain_model(tmp_path / "f.pb", ["y"], record, tmp_path / "m")
    assert (tmp_path / "m_quantized.pb").exists()
    assert set(read_record(record)) == {"conv", "y"}
    assert gq.load_model(tmp_path / "f.pb", ["y"]).outputs == ("y",)
