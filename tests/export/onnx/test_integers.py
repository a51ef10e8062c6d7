"""What an ONNX file holds: the integers, scales and zero points of the record, bit for bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.onnx.export import export_onnx

LAYERS = [
    ("Conv2D", "NHWC"),
    ("Conv2D", "NCHW"),
    ("DepthwiseConv2dNative", "NHWC"),
    ("DepthwiseConv2dNative", "NCHW"),
    ("Conv2DBackpropInput", "NHWC"),
    ("Conv2DBackpropInput", "NCHW"),
    ("MatMul", ""),
]


def in_onnx(op_type, weight):
    """A weight of TensorFlow in the layout that the ONNX specification gives its op."""
    if op_type == "Conv2D":
        return weight.transpose(3, 2, 0, 1)  # M x C x kH x kW
    if op_type == "DepthwiseConv2dNative":  # M = C * multiplier groups of one channel
        kh, kw, channels, multiplier = weight.shape
        return weight.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, kh, kw)
    if op_type == "Conv2DBackpropInput":
        return weight.transpose(3, 2, 0, 1)  # C x M x kH x kW
    return weight


def stored(path):
    model = onnx.load_model(path)
    tensors = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    return model, tensors


def bits(array):
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


@pytest.mark.parametrize(("op_type", "layout"), LAYERS)
def test_a_layers_integers_are_in_the_file_bit_for_bit(layer_model, tmp_path, op_type, layout):
    """int8 weight codes, int32 bias codes, and their scales along the axis of the channels."""
    model = layer_model(op_type, "bias", layout or "NHWC")
    record = model.record(scale_d=0.03, offset_d=-7)
    (layer,) = simulate(model.graph_def, ["y"], record).layers
    artifact = export_onnx(model.graph_def, ["y"], record, tmp_path / "m")
    found, tensors = stored(artifact.model_path)
    name = model.name

    weight = tensors[f"{name}/weight"]
    assert weight.dtype == np.int8
    np.testing.assert_array_equal(weight, in_onnx(op_type, layer.weight_codes))
    np.testing.assert_array_equal(bits(tensors[f"{name}/weight_scale"]), bits(record[name].scale_w))
    bias = tensors[f"{name}/bias"]
    assert bias.dtype == np.int32
    np.testing.assert_array_equal(bias.reshape(-1), layer.bias_codes)
    expected = np.float32(0.03) * record[name].scale_w
    np.testing.assert_array_equal(bits(tensors[f"{name}/bias_scale"]), bits(expected))
    for role in ("weight", "bias"):
        assert not tensors[f"{name}/{role}_zero_point"].any()

    nodes = {node.name: node for node in found.graph.node}
    axis = nodes[f"{name}/weight/DequantizeLinear"].attribute[0]
    assert (axis.name, weight.shape[axis.i]) == ("axis", len(record[name].scale_w))
    assert list(nodes[name].input)[1:] == [
        f"{name}/weight/DequantizeLinear",
        f"{name}/bias/DequantizeLinear",
    ]
    scale, zero_point = (tensors[f"block/act_quant/{key}"] for key in ("scale", "zero_point"))
    assert (scale.shape, zero_point.shape) == ((), ())
    assert (scale, zero_point) == (np.float32(0.03), np.int8(-7))
    assert zero_point.dtype == np.int8
    assert {node.op_type for node in found.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


def test_no_float_weight_is_left(residual, tmp_path):
    """Every initialiser of more than one float is a scale."""
    network = residual()
    artifact = export_onnx(network.graph_def, network.outputs, network.record, tmp_path / "m")
    _, tensors = stored(artifact.model_path)
    floats = {
        name for name, value in tensors.items() if value.dtype == np.float32 and value.size > 1
    }
    assert all(name.endswith(("weight_scale", "bias_scale")) for name in floats)
    weights = {name for name, value in tensors.items() if name.endswith("/weight")}
    assert len(weights) == len(network.record) - 1
    assert {tensors[name].dtype for name in weights} == {np.dtype(np.int8)}


def test_equal_weights_stay_with_their_own_layers(residual, tmp_path):
    """Layers whose codes are alike keep initialisers and names of their own."""
    network = residual()
    nodes = {node.name: node for node in network.graph_def.node}
    first, second = (nodes[nodes[f"group/Conv2D_{index}"].input[1]] for index in (0, 1))
    second.attr["value"].CopyFrom(first.attr["value"])
    factors = dict(network.record)
    factors["group/Conv2D_1"] = factors["group/Conv2D_0"]
    record = type(network.record)(factors)
    artifact = export_onnx(network.graph_def, network.outputs, record, tmp_path / "m")
    model, tensors = stored(artifact.model_path)
    np.testing.assert_array_equal(
        tensors["group/Conv2D_0/weight"], tensors["group/Conv2D_1/weight"]
    )
    assert {"group/Conv2D_0", "group/Conv2D_1"} <= {node.name for node in model.graph.node}


def test_inputs_and_outputs_keep_their_names_and_layout(residual, tmp_path):
    """The placeholder and the outputs are called as in TensorFlow, NHWC, their batch open."""
    network = residual(batch=None)
    artifact = export_onnx(network.graph_def, network.outputs, network.record, tmp_path / "m")
    model, _ = stored(artifact.model_path)
    (image,) = model.graph.input
    assert image.name == "image"
    dims = image.type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims[1:]] == [12, 12, 3]
    assert dims[0].dim_param
    assert [value.name for value in model.graph.output] == ["logits", "probability"]


@pytest.mark.parametrize("opset", [13, 17, 18, 20, 21])
def test_the_opset_is_the_one_asked_for(layer_model, tmp_path, opset, caplog):
    """The file imports one opset, the artifact says it, and onnx's full check finds it valid.

    From opset 21 on, a warning says what ONNX Runtime wants for int8 activations.
    """
    model = layer_model("Conv2D", "bias+fused")
    artifact = export_onnx(model.graph_def, ["y"], model.record(), tmp_path / "m", opset=opset)
    found, _ = stored(artifact.model_path)
    assert [(entry.domain, entry.version) for entry in found.opset_import] == [("", opset)]
    assert artifact.opset == opset
    assert ("session_config" in caplog.text) is (opset >= 21)
    onnx.checker.check_model(found, full_check=True)
    assert {prop.key: prop.value for prop in found.metadata_props}["converter"].startswith(
        "tf2onnx"
    )


def test_unsigned_activations_are_the_same_values(layer_model, tmp_path):
    """With uint8 every zero point is 128 higher, and nothing else changes."""
    model = layer_model("Conv2D", "bias")
    record = model.record(offset_d=-7)
    signed = export_onnx(model.graph_def, ["y"], record, tmp_path / "s")
    unsigned = export_onnx(model.graph_def, ["y"], record, tmp_path / "u", activations="uint8")
    (_, left), (_, right) = stored(signed.model_path), stored(unsigned.model_path)
    key = "block/act_quant/zero_point"
    assert (left.pop(key), right[key].dtype, right.pop(key)) == (-7, np.uint8, 121)
    assert left.keys() == right.keys()
    assert all(np.array_equal(left[name], right[name]) for name in left)


SCRIPT = """
import sys
import tensorflow as tf
from graphquant_export.targets.onnx.export import export_onnx
from graphquant_core.record import read_record
graph_def = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
export_onnx(graph_def, ["logits", "probability"], read_record(sys.argv[2]), sys.argv[3])
"""


def test_the_same_model_is_the_same_bytes(residual, tmp_path, monkeypatch):
    """In one process twice, and in another with another hash seed."""
    from graphquant_core.record import write_record

    network = residual(batch=None)
    artifacts = [
        export_onnx(network.graph_def, network.outputs, network.record, tmp_path / name)
        for name in "ab"
    ]
    first, second = (artifact.model_path.read_bytes() for artifact in artifacts)
    assert first == second
    (tmp_path / "model.pb").write_bytes(network.graph_def.SerializeToString())
    write_record(tmp_path / "record.txt", network.record)
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    arguments = [tmp_path / "model.pb", tmp_path / "record.txt", tmp_path / "c"]
    subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=True, capture_output=True)
    assert (tmp_path / "c.onnx").read_bytes() == first
