"""One record of weights alone for every target, by the names of TensorFlow."""

from __future__ import annotations

from importlib.util import find_spec

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import RecordError, UnsupportedLayerError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.registry import load_registry
from graphquant_core.weight_record import WeightGrid, WeightRecord
from graphquant_export.targets.mnn import LayerParams
from graphquant_export.targets.mnn.weight_params import layer_params, weight_record
from graphquant_wq.frozen_weights import quantize_frozen_weights

v1 = tf.compat.v1
WHEELS = {"onnx": "tf2onnx", "litert": "ai_edge_litert", "mnn": "MNN"}
RECORD = WeightRecord({"conv": WeightGrid(4), "grouped": WeightGrid(4), "dense": WeightGrid(4)})


@pytest.fixture(scope="module")
def quantized():
    """A convolution with a bias, one in two groups, and a dense layer, with 4 bits."""
    random = np.random.default_rng(0)

    def weight(*shape):
        return random.normal(0, 0.3, shape).astype(np.float32)

    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [1, 6, 6, 4], "x")
        y = tf.nn.bias_add(tf.nn.conv2d(x, weight(3, 3, 4, 8), 1, "SAME", name="conv"), weight(8))
        y = tf.nn.conv2d(tf.nn.relu(y), weight(3, 3, 4, 6), 2, "SAME", name="grouped")
        tf.matmul(tf.reshape(y, [1, 54]), weight(54, 5), name="dense")
        tf.identity(graph.get_tensor_by_name("dense:0"), name="y")
    return quantize_frozen_weights(graph.as_graph_def(), ["y"], 4, asymmetric=False)


def test_mnns_parameters_say_the_same(quantized):
    """To TensorFlow's names and back: a layer in groups has an entry for each of them."""
    assert weight_record(quantized.graph_def, ["y"], quantized.params) == RECORD
    view = GraphView(import_frozen(quantized.graph_def))
    assert layer_params(view, RECORD) == quantized.params
    names = [entry.op_name for entry in quantized.params]
    assert names[1:3] == ["grouped__group__0", "grouped__group__1"]


@pytest.mark.parametrize("target", WHEELS)
def test_a_target_writes_the_same_bytes_for_both(quantized, target, tmp_path):
    """And its artifact's record is the one by TensorFlow's names, which opens it again."""
    if find_spec(WHEELS[target]) is None:
        pytest.skip(f"{target} is not installed")
    exporter = load_registry().exporter(target)
    first, second = (
        exporter.export(quantized.graph_def, ["y"], record, tmp_path / name)
        for name, record in (("a", quantized.params), ("b", RECORD))
    )
    pairs = zip(first.paths, second.paths, strict=True)
    assert all(one.read_bytes() == other.read_bytes() for one, other in pairs)
    assert first.source.record == second.source.record == RECORD
    given = attrs.evolve(first.source, record=quantized.params)
    assert exporter.open(tmp_path / "a", given).source.record == RECORD


@pytest.mark.parametrize("target", WHEELS)
@pytest.mark.parametrize(
    ("record", "error", "words"),
    [
        (WeightRecord({}), RecordError, "holds no layer"),
        (WeightRecord({"cnov": WeightGrid(4)}), UnsupportedLayerError, 'did you mean "conv"'),
        ([LayerParams("grouped__group__0", 4, False)], UnsupportedLayerError, "different grids"),
        (["conv"], RecordError, "WeightQuantizer"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(quantized, target, record, error, words, tmp_path):
    """The error names the layer, or what is allowed; nothing is written."""
    if find_spec(WHEELS[target]) is None:
        pytest.skip(f"{target} is not installed")
    exporter = load_registry().exporter(target)
    with pytest.raises(error, match=words):
        exporter.export(quantized.graph_def, ["y"], record, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_ascend_has_no_models_of_weights_alone(quantized, tmp_path):
    """It says so."""
    exporter = load_registry().exporter("ascend")
    for record in (RECORD, quantized.params):
        with pytest.raises(RecordError, match="int8 models only"):
            exporter.export(quantized.graph_def, ["y"], record, tmp_path / "m")
