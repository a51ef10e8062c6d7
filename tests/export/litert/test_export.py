"""A .tflite file: the record's numbers bit for bit, and what the simulation computes."""

from __future__ import annotations

import logging
import os
import threading

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    ConfigError,
    FileWriteError,
    ModelFileError,
    OutputNotFoundError,
    RecordError,
)
from graphquant_core.record import LayerFactors, Record
from graphquant_core.registry import load_registry
from graphquant_export.integer_reference import integer_reference
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.litert import LiteRtRuntime, export_litert
from graphquant_export.targets.litert.captured import captured_output

litert = pytest.importorskip(
    "ai_edge_litert.interpreter", reason='needs pip install "graphquant-export[litert]"'
)
v1 = tf.compat.v1

LAYERS = {
    "conv/Conv2D": "Conv2D",
    "depthwise/depthwise": "DepthwiseConv2dNative",
    "up/deconv": "Conv2DBackpropInput",
    "pool/AvgPool": "AvgPool",
    "head/Conv2D": "Conv2D",
    "head/MatMul": "MatMul",
}
STORED = {  # axes of the TensorFlow weight in the order in which LiteRT stores them
    "Conv2D": lambda w: w.transpose(3, 0, 1, 2),
    "DepthwiseConv2dNative": lambda w: w.reshape(1, *w.shape[:2], -1),
    "MatMul": lambda w: w.T,
}


def _sorted_by_channel(stored, codes):
    """Codes of each channel, those that aren't zero in their order: what a file has of a record."""
    channels = codes.shape[2]
    rows = stored.reshape(-1, channels, *stored.shape[1:]).transpose(1, 0, 2, 3, 4)
    both = (rows.reshape(channels, -1), codes.transpose(2, 0, 1, 3).reshape(channels, -1))
    return tuple([np.sort(row[row != 0]) for row in side] for side in both)


def tensors(path):
    """What LiteRT's own interpreter says of each tensor, by name, with the values of constants."""
    interpreter = litert.Interpreter(model_path=str(path))
    details = interpreter.get_tensor_details()
    interpreter.allocate_tensors()
    found = {}
    for detail in details:
        if detail["name"]:
            constant = detail["name"].endswith((":weight", ":bias"))
            value = interpreter.get_tensor(detail["index"]) if constant else None
            found[detail["name"]] = (detail["dtype"], detail["quantization_parameters"], value)
    return found


@pytest.fixture
def exported(trained, image, tmp_path):
    """(artifact, record, simulation) of `trained`, calibrated on `image`."""
    frozen, record = trained
    artifact = export_litert(
        frozen, ["logits"], record, tmp_path / "model", calibration={"image": image}
    )
    return artifact, record, simulate(frozen, ["logits"], record)


def test_the_file_holds_the_records_numbers_bit_for_bit(exported):
    """Weight scales and codes, bias scales and codes, and the grids of activations."""
    artifact, record, simulated = exported
    found = tensors(artifact.model_path)
    checked = 0
    for layer in simulated.layers:
        factors = record[layer.name]
        grids = [
            (float(q["scales"][0]), int(q["zero_points"][0]))
            for name, (dtype, q, _) in found.items()
            if dtype == np.int8 and not name.endswith(":weight")
        ]
        assert (np.float32(factors.scale_d), factors.offset_d) in grids
        if layer.weight_codes is None:
            continue
        dtype, quantized, codes = found[f"{layer.name}:weight"]
        assert dtype == np.int8
        copies = 1
        if layer.op_type == "Conv2DBackpropInput":
            # Stride 2, and any batch: a convolution to four times the channels, with zeros between.
            copies = 4
            for found_row, row in zip(*_sorted_by_channel(codes, layer.weight_codes), strict=True):
                np.testing.assert_array_equal(found_row, row)
        else:
            np.testing.assert_array_equal(codes, STORED[layer.op_type](layer.weight_codes))
        np.testing.assert_array_equal(quantized["scales"], np.tile(factors.scale_w, copies))
        assert set(quantized["zero_points"]) == {0}
        dtype, quantized, codes = found[f"{layer.name}:bias"]
        assert dtype == np.int32
        np.testing.assert_array_equal(codes, np.tile(layer.bias_codes, copies))
        scale = np.float32(factors.scale_d) * factors.scale_w
        np.testing.assert_array_equal(quantized["scales"], np.tile(scale, copies))
        checked += 1
    assert checked == 5


def test_with_calibration_every_layer_is_int8_and_the_outputs_agree(exported, image):
    """Top-1 as in the exact integers, and the mean difference below 0.2 steps of the output."""
    artifact, _, simulated = exported
    runtime = LiteRtRuntime(artifact)
    assert {row.layer: row.op_type for row in runtime.executions()} == LAYERS
    assert {row.execution for row in runtime.executions()} == {"int8"}
    step = runtime.output_step("logits")
    (exact,) = integer_reference(simulated.exact.graph_def, ["logits"], {"image": image})
    got = runtime.run({"image": image}, ["logits"])["logits"]
    np.testing.assert_array_equal(got.argmax(-1), exact.argmax(-1))
    assert np.abs(np.rint(got / step) - np.rint(exact / step)).mean() <= 0.2


def test_without_calibration_only_what_no_quantiser_takes_is_float(
    trained, image, tmp_path, caplog
):
    """The last layer is named in a warning, and the file then computes the simulation itself."""
    frozen, record = trained
    with caplog.at_level(logging.WARNING):
        artifact = export_litert(frozen, ["logits"], record, tmp_path / "model")
    runtime = LiteRtRuntime(artifact)
    executions = {row.layer: row.execution for row in runtime.executions()}
    assert executions.pop("head/MatMul") == "int8 weights"
    assert set(executions.values()) == {"int8"}
    warned = [record.getMessage() for record in caplog.records if "litert" in record.name]
    assert len(warned) == 1
    assert '"head/MatMul"' in warned[0]
    assert "calibration=" in warned[0]
    assert runtime.output_step("logits") is None
    simulated = simulate(frozen, ["logits"], record)
    (exact,) = integer_reference(simulated.exact.graph_def, ["logits"], {"image": image})
    got = runtime.run({"image": image}, ["logits"])["logits"]
    np.testing.assert_allclose(got, exact, atol=0.02 * np.ptp(exact) / 255)


TAILS = {
    "Conv2D": ["none", "bias", "fused", "bias+unfused+doubled", "shifted"],
    "DepthwiseConv2dNative": ["none", "bias+fused"],
    "Conv2DBackpropInput": ["none", "bias+fused"],
    "MatMul": ["none", "bias+unfused+doubled"],
}


@pytest.mark.parametrize(
    ("op_type", "tail"), [(op_type, tail) for op_type, tails in TAILS.items() for tail in tails]
)
def test_a_layer_computes_its_exact_integers(layer_model, tmp_path, op_type, tail):
    """Per channel, gammas of both signs: every code on the output's grid is the exact one, ± 1."""
    model = layer_model(op_type, tail)
    record = model.record()
    feeds = {"x": model.x}
    artifact = export_litert(model.graph_def, ["y"], record, tmp_path / "m", calibration=feeds)
    runtime = LiteRtRuntime(artifact)
    assert [row.execution for row in runtime.executions()] == ["int8"]
    got = runtime.run(feeds, ["y"])["y"]
    deployed = simulate(model.graph_def, ["y"], record).exact.graph_def
    (exact,) = integer_reference(deployed, ["y"], feeds)
    step = runtime.output_step("y")
    codes = np.abs(np.rint(got / step) - np.rint(exact / step))
    assert codes.max() <= 1
    assert codes.mean() <= 0.01
    assert np.ptp(got) > 100 * step


def test_inputs_and_outputs_keep_their_names(trained, tmp_path):
    """The signature has TensorFlow's names, float32 on both sides."""
    frozen, record = trained
    artifact = export_litert(frozen, ["logits", "probability"][:1], record, tmp_path / "model")
    runner = litert.Interpreter(model_path=str(artifact.model_path)).get_signature_runner()
    assert list(runner.get_input_details()) == ["image"]
    assert list(runner.get_output_details()) == ["logits"]
    assert runner.get_input_details()["image"]["dtype"] == np.float32
    assert runner.get_output_details()["logits"]["name"] == "logits"


def test_integer_inputs_and_outputs_on_request(trained, image, tmp_path):
    """`integer_io` leaves out the first QUANTIZE and the last DEQUANTIZE, and nothing else."""
    frozen, record = trained
    feeds = {"image": image}
    artifacts = [
        export_litert(
            frozen, ["logits"], record, tmp_path / name, calibration=feeds, integer_io=integer
        )
        for name, integer in (("float", False), ("integer", True))
    ]
    interpreter = litert.Interpreter(model_path=str(artifacts[1].model_path))
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["dtype"], returned["dtype"]) == (np.int8, np.int8)
    factors = record["conv/Conv2D"]
    assert given["quantization"] == (np.float32(factors.scale_d), factors.offset_d)
    values = [LiteRtRuntime(artifact).run(feeds, ["logits"])["logits"] for artifact in artifacts]
    np.testing.assert_array_equal(*values)


def test_the_same_export_gives_the_same_bytes(trained, image, tmp_path):
    """Byte determinism, calibration included."""
    frozen, record = trained
    contents = [
        export_litert(
            frozen, ["logits"], record, tmp_path / name, calibration={"image": image}
        ).model_path.read_bytes()
        for name in "ab"
    ]
    assert contents[0] == contents[1]


def test_constants_are_aligned(exported):
    """Every buffer starts at a multiple of 16 bytes, as LiteRT's schema asks."""
    from tensorflow.lite.python import schema_py_generated as schema

    content = exported[0].model_path.read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    offsets = [
        model.Buffers(i)._tab.Vector(model.Buffers(i)._tab.Offset(4))
        for i in range(model.BuffersLength())
        if model.Buffers(i).DataLength()
    ]
    assert len(offsets) > 10
    assert {offset % 16 for offset in offsets} == {0}


def test_what_native_code_prints_is_logged_and_the_terminal_comes_back(capfd, caplog):
    """Between threads, too: each gets its lines into the log and the descriptors stay right."""

    def speak(word):
        with captured_output():
            for _ in range(20):
                os.write(2, f"{word}\n".encode())

    with caplog.at_level(logging.DEBUG):
        threads = [threading.Thread(target=speak, args=(word,)) for word in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(record.getMessage() for record in caplog.records) == ["one"] * 20 + ["two"] * 20
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_nothing_is_printed_and_no_file_is_left(trained, image, tmp_path, capfd):
    """The converter's and the runtime's own messages don't reach the terminal."""
    frozen, record = trained
    simulate(frozen, ["logits"], record)
    capfd.readouterr()
    artifact = export_litert(frozen, ["logits"], record, tmp_path / "model")
    LiteRtRuntime(artifact).run({"image": image}, ["logits"])
    printed = "".join(capfd.readouterr())
    assert "Ignored" not in printed
    assert "XNNPACK" not in printed
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


def test_the_exporter_is_registered_and_opens_what_it_wrote(trained, tmp_path):
    """The target "litert" of the plugin registry exports, reopens and runs."""
    exporter = load_registry().exporters["litert"]
    frozen, record = trained
    artifact = exporter.export(frozen, ["logits"], record, tmp_path / "model")
    assert artifact.target == "litert"
    assert artifact.paths == (tmp_path / "model.tflite",)
    opened = exporter.open(tmp_path / "model", artifact.source)
    assert (opened.paths, opened.rules) == (artifact.paths, artifact.rules)
    assert opened.source.record == artifact.source.record
    assert len(exporter.runtime(opened).executions()) == 6
    with pytest.raises(ModelFileError, match=r"other\.tflite"):
        exporter.open(tmp_path / "other", artifact.source)
    (tmp_path / "other.tflite").write_bytes(b"no model")
    with pytest.raises(ModelFileError, match=r"not a \.tflite file"):
        exporter.open(tmp_path / "other", artifact.source)


def test_after_an_error_an_older_file_is_as_it_was(trained, image, tmp_path):
    """Wrong arguments are refused by name before anything is written."""
    frozen, record = trained
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")
    with pytest.raises(OutputNotFoundError, match='did you mean "logits"'):
        export_litert(frozen, ["logit"], record, tmp_path / "model")
    with pytest.raises(ConfigError, match='did you mean "image"'):
        export_litert(frozen, ["logits"], record, tmp_path / "model", calibration={"imge": image})
    wrong = Record({**record, "up/deconv": LayerFactors(0.1, 0, [1.0])})
    with pytest.raises(RecordError, match="up/deconv"):
        export_litert(frozen, ["logits"], wrong, tmp_path / "model")
    with pytest.raises(FileWriteError, match="save_path"):
        export_litert(frozen, ["logits"], record, f"{tmp_path}/")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_converter_refuses_is_an_error_with_its_reason(tmp_path):
    """An op that LiteRT doesn't know is named, and nothing is written."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2, 8], name="x")
        y = tf.matmul(x, np.eye(8, dtype=np.float32), name="layer")
        tf.linalg.inv(tf.reshape(y, [2, 2, 4])[:, :, :2], name="inverse")
    record = Record({"layer": LayerFactors(0.1, 0, [0.01])})
    with pytest.raises(ModelFileError, match="MatrixInverse"):
        export_litert(graph.as_graph_def(), ["inverse"], record, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
