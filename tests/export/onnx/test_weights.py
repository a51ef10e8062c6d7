"""Weight-only models in ONNX: codes, scales and zero points of the frozen weights' grids."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import numpy_helper

from graphquant_core.exceptions import RangeError, RecordError, UnsupportedLayerError
from graphquant_core.registry import load_registry
from graphquant_core.weight_record import WeightGrid, WeightRecord
from graphquant_export.targets.mnn import LayerParams
from graphquant_export.targets.mnn.weight_params import weight_record
from graphquant_export.targets.onnx.runtime import OnnxRuntime
from graphquant_export.targets.onnx.weights import export_onnx_weights
from graphquant_wq.frozen_weights import quantize_frozen_weights

v1 = tf.compat.v1

LAYERS = [
    "stem/Conv2D",
    "depthwise/conv",
    "body/Conv2D",
    "group/Conv2D_0",
    "group/Conv2D_1",
    "head/MatMul",
]
IN_ONNX = {4: (3, 2, 0, 1), 2: (0, 1)}


def constant_weight(graph_def, layer):
    """What the layer takes in the frozen graph."""
    nodes = {node.name: node for node in graph_def.node}
    return tf.make_ndarray(nodes[nodes[layer].input[1]].attr["value"].tensor)


def read_weight(path, layer):
    """(codes, value in float64, type) of the weight of `layer`, as the specification reads it."""
    model = onnx.load_model(path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    keys = "weight", "weight_scale", "weight_zero_point"
    codes, scale, zero = (
        numpy_helper.to_array(tensors[f"{layer}/{key}"]).astype(np.float64) for key in keys
    )
    given = {entry.name: entry.i for entry in nodes[f"{layer}/weight/DequantizeLinear"].attribute}
    if "block_size" in given:
        scale, zero = (
            np.repeat(part, given["block_size"], given["axis"]) for part in (scale, zero)
        )
    elif scale.ndim:
        shape = [1] * codes.ndim
        shape[given["axis"]] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    value = (codes - zero) * scale
    if f"{layer}/weight_offset" in tensors:
        value = value + numpy_helper.to_array(tensors[f"{layer}/weight_offset"])
    if f"{layer}/weight_shape" in tensors:
        value = value.reshape(numpy_helper.to_array(tensors[f"{layer}/weight_shape"]))
    if f"{layer}/weight/Transpose" in nodes:
        value = value.T
    return codes, value, tensors[f"{layer}/weight"].data_type, scale


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("bits", [8, 5, 4, 3, 2])
def test_the_file_holds_the_frozen_weights_as_codes(residual, tmp_path, run, bits, asymmetric):
    """(code - zero point) * scale [+ offset] is the frozen weight; outputs are TensorFlow's."""
    network = residual()
    quantized = quantize_frozen_weights(
        network.graph_def, network.outputs, bits, asymmetric=asymmetric, uniform=True
    )
    model = quantized.graph_def
    record = weight_record(model, network.outputs, quantized.params)
    artifact = export_onnx_weights(model, network.outputs, record, tmp_path / "m")
    assert artifact.opset == (21 if bits <= 4 else 17)
    for layer in LAYERS:
        codes, value, data_type, scale = read_weight(artifact.model_path, layer)
        weight = constant_weight(model, layer)
        if layer == "depthwise/conv":
            weight = weight.transpose(0, 1, 3, 2)
        assert np.abs(value - weight.transpose(IN_ONNX[weight.ndim])).max() <= 1e-4 * scale.max()
        small = onnx.TensorProto.INT4 if bits <= 4 else onnx.TensorProto.INT8
        assert data_type == small
        assert codes.max() <= 2 ** (bits - 1) - 1
        assert codes.min() >= -(2 ** (bits - 1)) + (not asymmetric)
    runtime = OnnxRuntime(artifact)
    found = runtime.run(network.feeds, network.outputs)
    wanted = run(model, list(network.outputs), {"image:0": network.x})
    for name, truth in zip(network.outputs, wanted, strict=True):
        assert np.abs(found[name] - truth).max() <= 1e-5 * np.ptp(truth)
    rows = {row.layer: row for row in runtime.executions()}
    stored = "int4 weights" if bits <= 4 else "int8 weights"
    assert {rows[layer].execution for layer in LAYERS} == {stored}


def test_every_layers_result_is_that_of_the_frozen_graph(residual, tmp_path, run):
    """layer_outputs gives each quantised layer under its name in the frozen graph."""
    network = residual(batch=None)
    quantized = quantize_frozen_weights(network.graph_def, network.outputs, 4, asymmetric=True)
    artifact = (
        load_registry()
        .exporters["onnx"]
        .export(quantized.graph_def, network.outputs, quantized.params, tmp_path / "m")
    )
    found = OnnxRuntime(artifact).layer_outputs(network.feeds)
    assert set(LAYERS) < set(found)
    names = [entry.tensor for entry in found.values()]
    values = run(quantized.graph_def, names, {"image:0": network.x})
    for entry, wanted in zip(found.values(), values, strict=True):
        assert np.abs(entry.value - wanted).max() <= 1e-5 * np.ptp(wanted)


def dense_model(weight):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [3, len(weight)], name="x")
        tf.identity(tf.matmul(x, tf.constant(weight), name="dense"), name="y")
    return graph.as_graph_def()


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_blocks_of_input_channels_have_their_own_scales(tmp_path, run, asymmetric, opset):
    """With a block size, each block of each output channel has its scale and its minimum."""
    rng = np.random.default_rng(0)
    weight = (rng.normal(size=(64, 5)) * np.repeat([1, 8, 3, 0.5], 16)[:, None]).astype(np.float32)
    quantized = quantize_frozen_weights(
        dense_model(weight), ["y"], 4, asymmetric=asymmetric, block_size=16
    )
    (params,) = quantized.params
    assert params.block_size == 16
    record = weight_record(quantized.graph_def, ["y"], quantized.params)
    artifact = export_onnx_weights(quantized.graph_def, ["y"], record, tmp_path / "m", opset=opset)
    _, value, _, scale = read_weight(artifact.model_path, "dense")
    assert len(np.unique(scale)) == 20
    frozen = constant_weight(quantized.graph_def, "dense")
    assert np.abs(value - frozen).max() <= 1e-4 * scale.max()
    x = rng.normal(size=(3, 64)).astype(np.float32)
    runtime = OnnxRuntime(artifact)
    found = runtime.run({"x": x}, ["y"])["y"]
    (wanted,) = run(quantized.graph_def, ["y"], {"x:0": x})
    assert np.abs(found - wanted).max() <= 1e-5 * np.ptp(wanted)
    (row,) = runtime.executions()
    assert row.execution == ("int4 weights" if opset == 21 else "int8 weights")


@pytest.mark.parametrize("asymmetric", [False, True])
def test_a_transposed_convolution_has_groups_that_cross_its_channels(tmp_path, run, asymmetric):
    """Its groups are the rows of a stored matrix; with a batch norm behind it, it stays float."""
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(2, 2, 6, 4)), rng.normal(size=(1, 3, 3, 4))
    with tf.Graph().as_default() as graph:
        fed = v1.placeholder(tf.float32, [1, 3, 3, 4], name="x")
        weight = tf.constant(weight.astype(np.float32))
        y = tf.nn.conv2d_transpose(fed, weight, [1, 6, 6, 6], 2, name="up")
        tf.identity(y, name="y")
    quantized = quantize_frozen_weights(graph.as_graph_def(), ["y"], 4, asymmetric=asymmetric)
    record = weight_record(quantized.graph_def, ["y"], quantized.params)
    artifact = export_onnx_weights(quantized.graph_def, ["y"], record, tmp_path / "m")
    _, value, data_type, scale = read_weight(artifact.model_path, "up")
    assert (scale.shape, data_type) == ((6, 1), onnx.TensorProto.INT4)
    frozen = constant_weight(quantized.graph_def, "up").transpose(3, 2, 0, 1)
    assert np.abs(value - frozen).max() <= 1e-4 * scale.max()
    runtime = OnnxRuntime(artifact)
    assert [row.execution for row in runtime.executions()] == ["int4 weights"]
    feeds = {"x": x.astype(np.float32)}
    (wanted,) = run(quantized.graph_def, ["y"], {"x:0": feeds["x"]})
    assert np.abs(runtime.run(feeds, ["y"])["y"] - wanted).max() <= 1e-5 * np.ptp(wanted)


def test_a_weight_that_a_batch_norm_takes_off_its_grid_stays_float(residual, tmp_path, caplog):
    """A transposed convolution before a batch norm is named in a warning, and float in the file."""
    network = residual()
    quantized = quantize_frozen_weights(network.graph_def, network.outputs, 8)
    record = weight_record(quantized.graph_def, network.outputs, quantized.params)
    artifact = export_onnx_weights(quantized.graph_def, network.outputs, record, tmp_path / "m")
    assert 'of 7 layers stays float in ONNX: "up/deconv" (Conv2DBackpropInput): ' in caplog.text
    rows = {row.layer: row for row in OnnxRuntime(artifact).executions()}
    found = rows["up/deconv"]
    assert (found.execution, found.reason) == ("float", "its weight is float")


def test_a_zero_that_is_a_code_becomes_the_zero_point(tmp_path):
    """Where 0.0 is on every group's grid there is no Add: the zero point is that code."""
    weight = np.array([[-3, 4], [12, -8], [0, 7], [5, 0]], np.float32) / 10
    params = WeightRecord({"dense": WeightGrid(4, True)})
    artifact = export_onnx_weights(dense_model(weight), ["y"], params, tmp_path / "m")
    model = onnx.load_model(artifact.model_path)
    assert "Add" not in {node.op_type for node in model.graph.node}
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(tensors["dense/weight_zero_point"].astype(int), [-5, 0])
    _, value, _, _ = read_weight(artifact.model_path, "dense")
    np.testing.assert_allclose(value, weight, atol=1e-6)


def test_an_earlier_opset_stores_4_bits_as_int8(tmp_path):
    """Before opset 21 there is no int4: the same codes are int8 there."""
    weight = np.arange(-7, 8, dtype=np.float32).reshape(15, 1)
    params = WeightRecord({"dense": WeightGrid(4)})
    model = dense_model(weight)
    for opset, data_type in ((17, onnx.TensorProto.INT8), (21, onnx.TensorProto.INT4)):
        artifact = export_onnx_weights(model, ["y"], params, tmp_path / "m", opset=opset)
        codes, _, found, _ = read_weight(artifact.model_path, "dense")
        assert found == data_type
        np.testing.assert_array_equal(codes, weight)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ([], RecordError, "holds no layer"),
        (["dense"], RecordError, r"record \(str\) must be a Record"),
        (None, RecordError, r"record \(NoneType\) must be a Record"),
        (
            [LayerParams("dense__matmul", 4, False)],
            UnsupportedLayerError,
            'mean "dense__matmul_converted"',
        ),
        ([LayerParams("dense__matmul_converted", 4, False)], RangeError, '"dense".*not on a grid'),
    ],
)
def test_wrong_parameters_are_refused_by_name(tmp_path, params, error, words):
    """Nothing is written when an entry is wrong, unknown, or the weights are not on its grid."""
    weight = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    exporter = load_registry().exporters["onnx"]
    with pytest.raises(error, match=words):
        exporter.export(dense_model(weight), ["y"], params, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
