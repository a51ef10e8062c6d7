"""The options of a target on the command line."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from graphquant_core.exceptions import ConfigError
from graphquant_core.registry import load_registry


@pytest.fixture
def quantized(graphquant, files, tmp_path):
    """Exports the model to a target with options; the outcome."""

    def run(target, *options):
        arguments = [part for option in options for part in ("--option", option)]
        save_path = tmp_path / "m"
        common = ("--target", target, "--save-path", save_path, "--calibration", files.samples)
        return graphquant("quantize", files.model, *common, *arguments)

    return run


@pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")
def test_a_litert_model_takes_and_returns_int8(quantized, graphquant, files, tmp_path):
    """integer_io=true from `quantize` and from `export`: the file's inputs are int8."""
    from graphquant_export.targets.litert.file import LiteRtFile

    assert quantized("litert", "integer_io=true").exit_code == 0
    common = ("--record", tmp_path / "m_record.txt", "--target", "litert")
    samples = ("--calibration", files.samples, "--option", "integer_io=true")
    again = graphquant("export", files.model, *common, "--save-path", tmp_path / "n", *samples)
    assert again.exit_code == 0, again.stderr
    content = (tmp_path / "m.tflite").read_bytes()
    file = LiteRtFile(content, "m.tflite")
    assert {file.dtype(index) for index in file.inputs.values()} == {"int8"}
    assert (tmp_path / "n.tflite").read_bytes() == content


@pytest.mark.skipif(find_spec("tf2onnx") is None, reason="tf2onnx is not installed")
def test_an_onnx_model_has_the_opset_and_the_type_that_were_asked_for(quantized, tmp_path):
    """opset=15 and activations=uint8 are in the file."""
    import onnx

    done = quantized("onnx", "opset=15", "activations=uint8")
    assert done.exit_code == 0, done.stderr
    model = onnx.load(tmp_path / "m.onnx")
    assert model.opset_import[0].version == 15
    zeros = [i for i in model.graph.initializer if i.data_type == onnx.TensorProto.UINT8]
    assert zeros


@pytest.mark.parametrize(
    ("target", "option", "words"),
    [
        ("onnx", "opste=15", 'no option "opste"'),
        ("ascend", "opset=15", "it has none"),
        ("litert", "integer_io=yes", "must be true or false"),
    ],
)
def test_another_option_is_one_line_and_nothing_is_written(
    quantized, tmp_path, target, option, words
):
    """The error names it and what the target has."""
    done = quantized(target, option)
    assert done.exit_code != 0
    assert words in done.stderr.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_python_refuses_the_same_keywords():
    """Every target of the package says what it takes, before it looks at the model."""
    for name in ("ascend", "mnn", "onnx", "litert"):
        with pytest.raises(ConfigError, match=f'target "{name}" has no option "speed"'):
            load_registry().exporter(name).export(None, [], None, "m", speed=1)
