"""The file in ONNX Runtime beside the exact integers and the simulation in TensorFlow."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import numpy_helper

from graphquant_core.exceptions import (
    ConfigError,
    ModelFileError,
    OutputNotFoundError,
    RangeError,
)
from graphquant_core.exporter import ReopeningExporter
from graphquant_core.record import LayerFactors, Record
from graphquant_core.registry import load_registry
from graphquant_export.integer_reference import integer_reference
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.onnx.export import export_onnx, open_onnx
from graphquant_export.targets.onnx.runtime import OnnxRuntime

v1 = tf.compat.v1

LAYERS = [
    ("Conv2D", "NHWC"),
    ("Conv2D", "NCHW"),
    ("DepthwiseConv2dNative", "NHWC"),
    ("DepthwiseConv2dNative", "NCHW"),
    ("Conv2DBackpropInput", "NHWC"),
    ("Conv2DBackpropInput", "NCHW"),
    ("MatMul", ""),
]
INTEGER_KERNELS = {
    "stem/Conv2D": "QLinearConv",
    "depthwise/conv": "QLinearConv",
    "body/Conv2D": "QLinearConv",
    "pool/AvgPool": "QLinearAveragePool",
    "head/MatMul": "QGemm",
}


def mean_in_steps(got, wanted):
    """Mean absolute difference, in steps of 8 bits over the range of `wanted`."""
    return float(np.abs(got - wanted).mean() / (np.ptp(wanted) / 255))


def as_shown(entry, wanted):
    """`wanted` on the grid that the runtime's kernel rounds a layer to, where it does."""
    if entry.step is None:
        return wanted
    return (np.rint(wanted / entry.step) * entry.step).clip(*entry.ends)


def edit(path, change):
    """Rewrites the ONNX file at `path` after `change(model, tensors by name)`."""
    model = onnx.load_model(path)
    change(model, {tensor.name: tensor for tensor in model.graph.initializer})
    onnx.save_model(model, path)


@pytest.fixture
def exported(residual, tmp_path):
    """The network with every layer, its artifact and what runs that."""
    network = residual()
    artifact = export_onnx(network.graph_def, network.outputs, network.record, tmp_path / "m")
    return network, artifact


@pytest.mark.parametrize("tail", ["none", "bias+fused"])
@pytest.mark.parametrize(("op_type", "layout"), LAYERS)
def test_every_kind_of_layer_computes_its_integers(layer_model, tmp_path, op_type, layout, tail):
    """ONNX Runtime gives the exact sums of the deployed layer, up to float32, in its layout."""
    if op_type == "MatMul" and tail != "none":
        tail = "bias+unfused"
    model = layer_model(op_type, tail, layout or "NHWC")
    record = model.record()
    artifact = export_onnx(model.graph_def, ["y"], record, tmp_path / "m")
    found = OnnxRuntime(artifact).run({"x": model.x}, ["y"])["y"]
    deployed = simulate(model.graph_def, ["y"], record).exact.graph_def
    (exact,) = integer_reference(deployed, ["y"], {"x": model.x})
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= 2e-6 * np.abs(exact).max()


@pytest.mark.parametrize("batch", [4, None])
@pytest.mark.parametrize("activations", ["int8", "uint8"])
def test_a_network_equals_the_integers_and_the_simulation(
    residual, tmp_path, run, batch, activations
):
    """Top-1 classes agree, and outputs differ by less than 0.2 steps from both truths."""
    network = residual(batch)
    model, outputs, record = network.graph_def, network.outputs, network.record
    artifact = export_onnx(model, outputs, record, tmp_path / "m", activations=activations)
    found = OnnxRuntime(artifact).run(network.feeds, outputs)
    simulated = simulate(model, outputs, record)
    exact = integer_reference(simulated.exact.graph_def, outputs, network.feeds)
    floats = run(simulated.graph_def, list(outputs), {"image:0": network.x})
    for name, wanted, simulation in zip(outputs, exact, floats, strict=True):
        assert np.ptp(wanted) > 0.1
        for truth in (wanted, simulation):
            np.testing.assert_array_equal(found[name].argmax(-1), truth.argmax(-1))
            assert mean_in_steps(found[name], truth) < 0.2


def test_a_trained_network_is_what_was_trained(trained, run, image, tmp_path):
    """The file of a trained graph gives what that graph with its fake quantisers gives."""
    frozen, record = trained
    artifact = export_onnx(frozen, ["logits"], record, tmp_path / "m")
    found = OnnxRuntime(artifact).run({"image": image}, ["logits"])["logits"]
    (wanted,) = run(frozen, ["logits"], {"image:0": image})
    np.testing.assert_array_equal(found.argmax(-1), wanted.argmax(-1))
    assert mean_in_steps(found, wanted) < 0.2


def test_without_calibration_nothing_is_added(exported, caplog):
    """Every QuantizeLinear is one of the record, and the layers without one are named."""
    network, artifact = exported
    model = onnx.load_model(artifact.model_path)
    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    found = sorted(float(scales[node.input[1]]) for node in quantizers)
    factors = {(entry.scale_d, entry.offset_d) for entry in network.record.values()}
    assert found == sorted(scale for scale, _ in factors)
    assert not [node.name for node in quantizers if "result_quant" in node.name]
    export_onnx(network.graph_def, network.outputs, network.record, artifact.model_path)
    assert 'the layers "depthwise/conv", "body/Conv2D"' in caplog.text


def test_calibration_lets_a_residual_layer_run_in_integers(residual, tmp_path):
    """With a batch, results that are added get a range, and ONNX Runtime sums them as integers."""
    network = residual()
    plain, calibrated = (
        OnnxRuntime(
            export_onnx(
                network.graph_def,
                network.outputs,
                network.record,
                tmp_path / name,
                calibration=calibration,
                activations="uint8",
            )
        )
        for name, calibration in (("p", None), ("c", network.feeds))
    )
    assert plain.kernels()["body/Conv2D"] == plain.kernels()["depthwise/conv"] == "Conv"
    kernels = calibrated.kernels()
    assert {name: kernels[name] for name in INTEGER_KERNELS} == INTEGER_KERNELS
    found = {row.layer: row for row in calibrated.executions()}
    assert {found[name].reason for name in INTEGER_KERNELS} == {None}
    reason = found["up/deconv"].reason
    assert found["up/deconv"].execution == "int8"
    assert "sums it in float (ConvTranspose)" in reason
    left, right = (
        runtime.run(network.feeds, ["logits"])["logits"] for runtime in (plain, calibrated)
    )
    assert 0 < mean_in_steps(right, left) < 4
    np.testing.assert_array_equal(left.argmax(-1), right.argmax(-1))


@pytest.mark.parametrize(("activation", "ends_at"), [("Relu", 5.0), ("Relu6", 7.0)])
def test_a_quantiser_before_an_activation_function_changes_no_number(tmp_path, activation, ends_at):
    """Sums before a Relu or Relu6 that does more than its quantiser are rounded by that one, too.

    So an integer kernel gives them, and the result is still that of the exact integers.
    """
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [8, 6, 6, 4], name="x")
        first, second = (
            tf.constant(rng.normal(0, 0.5, (3, 3, 4, 4)).astype(np.float32)) for _ in range(2)
        )
        y = tf.nn.conv2d(x, first, 1, "SAME", name="first")
        y = getattr(tf.nn, activation.lower())(y)
        tf.identity(tf.nn.conv2d(y, second, 1, "VALID", name="second"), name="y")
    offset = -100 if activation == "Relu" else -128
    scale_w = np.full(4, 0.013)
    record = Record(
        {
            "first": LayerFactors(0.031, 3, scale_w),
            "second": LayerFactors(ends_at / 255, offset, scale_w),
        }
    )
    feeds = {"x": rng.normal(0, 1, (8, 6, 6, 4)).astype(np.float32)}
    artifact = export_onnx(graph.as_graph_def(), ["y"], record, tmp_path / "m")
    runtime = OnnxRuntime(artifact)
    assert runtime.kernels() == {"first": "QLinearConv", "second": "Conv"}
    deployed = simulate(graph.as_graph_def(), ["y"], record).exact.graph_def
    (exact,) = integer_reference(deployed, ["y"], feeds)
    found = runtime.run(feeds, ["y"])["y"]
    assert np.abs(found - exact).max() <= 2e-6 * np.abs(exact).max()


def test_an_output_that_a_quantiser_gives_has_its_step(layer_model, tmp_path):
    """The step is the range on the calibration batch over 255; without calibration it is None."""
    model = layer_model("Conv2D", "bias")
    record = model.record()
    feeds = {"x": model.x}
    plain = OnnxRuntime(export_onnx(model.graph_def, ["y"], record, tmp_path / "p"))
    assert plain.output_step("y") is None
    value = plain.run(feeds, ["y"])["y"]
    artifact = export_onnx(model.graph_def, ["y"], record, tmp_path / "c", calibration=feeds)
    runtime = OnnxRuntime(artifact)
    step = runtime.output_step("y")
    assert step == pytest.approx(np.ptp(value) / 255, rel=1e-5)
    found = runtime.run(feeds, ["y"])["y"]
    assert np.abs(found - value).max() <= 0.5001 * step
    assert runtime.kernels() == {model.name: "QLinearConv"}


def test_every_layers_result_is_that_of_the_simulation(exported, run):
    """layer_outputs gives each layer's result under its name in the simulation, in its layout."""
    network, artifact = exported
    simulated = simulate(network.graph_def, network.outputs, network.record)
    found = OnnxRuntime(artifact).layer_outputs(network.feeds)
    assert list(found) == [layer.name for layer in simulated.layers]
    names = [entry.tensor for entry in found.values()]
    values = run(simulated.graph_def, names, {"image:0": network.x})
    for entry, wanted in zip(found.values(), values, strict=True):
        assert entry.value.shape == wanted.shape
        assert mean_in_steps(entry.value, as_shown(entry, wanted)) < 1e-3


@pytest.mark.parametrize("layer", ["depthwise/conv", "up/deconv", "head/MatMul"])
def test_a_changed_scale_shows_at_its_layer(exported, run, layer):
    """The first layer whose result parts from the simulation is the one that was changed."""
    network, artifact = exported

    def double(_, tensors):
        tensor = tensors[f"{layer}/weight_scale"]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name))

    edit(artifact.model_path, double)
    simulated = simulate(network.graph_def, network.outputs, network.record)
    found = OnnxRuntime(artifact).layer_outputs(network.feeds)
    names = [entry.tensor for entry in found.values()]
    values = run(simulated.graph_def, names, {"image:0": network.x})
    apart = [
        name
        for (name, entry), wanted in zip(found.items(), values, strict=True)
        if mean_in_steps(entry.value, as_shown(entry, wanted)) > 1
    ]
    assert apart[0] == layer


def test_a_renamed_layer_is_reported_by_name(exported):
    """A layer that the file has under another name is missing, with the nearest name."""
    _, artifact = exported

    def rename(model, _):
        for node in model.graph.node:
            if node.name == "up/deconv":
                node.name = "up/deconvolution"

    edit(artifact.model_path, rename)
    found = {row.layer: row for row in OnnxRuntime(artifact).executions()}
    row = found.pop("up/deconv")
    assert (row.execution, row.runtime_name) == ("missing", None)
    assert 'did you mean "up/deconvolution"' in row.reason
    assert {row.execution for row in found.values()} == {"int8"}


def test_executions_say_what_the_file_holds_not_what_was_asked_for(exported):
    """A float weight, and an input that is not quantised, are read off the file."""
    network, artifact = exported

    def undo(model, tensors):
        makers = {node.output[0]: node for node in model.graph.node}
        for node in model.graph.node:
            if node.name == "body/Conv2D":
                weight = makers[node.input[1]]
                value = numpy_helper.to_array(tensors["body/Conv2D/weight"]).astype(np.float32)
                model.graph.initializer.append(numpy_helper.from_array(value, "float_weight"))
                node.input[1] = "float_weight"
                model.graph.node.remove(weight)
            if node.name == "head/MatMul":
                node.input[0] = makers[makers[node.input[0]].input[0]].input[0]

    edit(artifact.model_path, undo)
    found = {row.layer: row for row in OnnxRuntime(artifact).executions()}
    assert found["body/Conv2D"].execution == "float"
    assert found["head/MatMul"].execution == "int8 weights"
    assert found["stem/Conv2D"].execution == "int8"
    assert len(found) == len(network.record)


def test_layers_outside_the_record_are_float(residual, tmp_path):
    """Every layer of the plan has its row; one without an entry in the record says so."""
    network = residual()
    record = type(network.record)({"head/MatMul": network.record["head/MatMul"]})
    artifact = export_onnx(network.graph_def, network.outputs, record, tmp_path / "m")
    found = {row.layer: row for row in OnnxRuntime(artifact).executions()}
    assert len(found) == len(network.record)
    assert found["head/MatMul"].execution == "int8"
    assert found["stem/Conv2D"].execution == "float"
    assert found["stem/Conv2D"].reason == "the record has no entry for it"


def test_the_artifact_is_found_again(exported, tmp_path):
    """`open` gives what `export` returned, and the registry's exporter runs it."""
    network, artifact = exported
    exporter = load_registry().exporters["onnx"]
    assert isinstance(exporter, ReopeningExporter)
    opened = exporter.open(tmp_path / "m", artifact.source)
    assert (opened.paths, opened.opset) == (artifact.paths, artifact.opset)
    found = exporter.runtime(opened).run(network.feeds, ["logits"])
    assert found["logits"].shape == (4, 5)
    with pytest.raises(ModelFileError, match=r"nothing\.onnx"):
        open_onnx(tmp_path / "nothing", artifact.source)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08"])
def test_a_broken_file_is_refused_by_name(exported, content):
    """What is no ONNX model is an error with the path."""
    _, artifact = exported
    artifact.model_path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"m\.onnx.*is not an ONNX model"):
        OnnxRuntime(artifact)


def test_a_model_that_onnx_runtime_refuses_is_an_error_with_its_reason(exported):
    """An op that doesn't exist is refused when the runtime opens the file."""
    _, artifact = exported

    def spoil(model, _):
        model.graph.node[-1].op_type = "Softmaxx"

    edit(artifact.model_path, spoil)
    with pytest.raises(ModelFileError, match=r"m\.onnx.*ONNX Runtime.*Softmaxx"):
        OnnxRuntime(artifact)


def test_wrong_feeds_and_outputs_are_refused(exported):
    """One error that names the placeholder or the output and what there is."""
    network, artifact = exported
    runtime = OnnxRuntime(artifact)
    with pytest.raises(OutputNotFoundError, match='did you mean "logits"'):
        runtime.run(network.feeds, ["logit"])
    with pytest.raises(ConfigError, match='did you mean "image"'):
        runtime.run({"imge": network.x}, ["logits"])
    with pytest.raises(RangeError, match="the model takes"):
        runtime.run({"image": network.x[:, :5]}, ["logits"])
