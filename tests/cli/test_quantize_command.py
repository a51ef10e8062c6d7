"""`graphquant quantize` and `graphquant export`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import read_record
from graphquant_export.targets.mnn import read_mnn_layers

Run = Callable[..., Any]


def _quantize(graphquant: Run, files: Any, *more: object) -> Any:
    return graphquant(
        "quantize", files.model, "--calibration", files.samples, "--output", "prob", *more
    )


def test_a_float_model_becomes_the_files_of_a_target(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """The integer graph computes nearly the same, and the record and every file are named."""
    outcome = _quantize(graphquant, files, "--target", "ascend", "--save-path", tmp_path / "m")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    paths = [line.split("wrote ")[1] for line in outcome.stdout.splitlines()]
    names = ["m_record.txt", "m_quantized.pb", "m_deploy.pb"]
    assert paths == [str(tmp_path / name) for name in names]
    assert list(read_record(tmp_path / "m_record.txt")) == ["conv", "pool", "dense"]
    found, expected = files.run(tmp_path / "m_quantized.pb"), files.run(files.model)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert not np.array_equal(found, expected)


def test_json_lists_what_was_written(graphquant: Run, files: Any, tmp_path: Path) -> None:
    """--json is one document with the paths, the record and the layers; --skip-layer leaves out."""
    outcome = _quantize(
        graphquant, files, "--target", "ascend", "--save-path", tmp_path / "m",
        "--activation", "min_max", "--skip-layer", "po*", "--json",
    )  # fmt: skip
    assert json.loads(outcome.stdout) == {
        "paths": [str(tmp_path / "m_quantized.pb"), str(tmp_path / "m_deploy.pb")],
        "record": str(tmp_path / "m_record.txt"),
        "layers": ["conv", "dense"],
    }


def test_the_record_exports_again_to_the_same_files(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """`export` with the record that `quantize` wrote gives the same bytes."""
    _quantize(graphquant, files, "--target", "ascend", "--save-path", tmp_path / "a")
    outcome = graphquant(
        "export", files.model, "--record", tmp_path / "a_record.txt", "--target", "ascend",
        "--save-path", tmp_path / "b", "--output", "prob", "--calibration", files.samples,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    assert (tmp_path / "a_quantized.pb").read_bytes() == (tmp_path / "b_quantized.pb").read_bytes()


@pytest.mark.skipif(find_spec("MNN") is None, reason="needs the wheel MNN")
def test_weights_alone_are_quantised_by_mnns_converter(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """Without samples, on asymmetric grids; the .mnn file holds weights of the bits asked for."""
    outcome = graphquant(
        "quantize", files.model, "--weight-only", "--bits", 4, "--target", "mnn",
        "--layer-bits", "dense=8", "--output", "prob", "--save-path", tmp_path / "m", "--json",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    bits = {layer["op_name"]: layer["bits"] for layer in json.loads(outcome.stdout)["layers"]}
    assert bits == {"conv": 4, "dense__matmul_converted": 8}
    assert all(layer["asymmetric"] for layer in json.loads(outcome.stdout)["layers"])
    stored = read_mnn_layers(tmp_path / "m.mnn")
    assert {name: stored[name].weight.bits for name in bits} == bits


def test_samples_make_weights_alone_better(graphquant: Run, files: Any, tmp_path: Path) -> None:
    """With --calibration the output is nearer to the float one; the same samples, the same file."""
    paths = {"plain": [], "sampled": ["--calibration", files.samples]}
    paths["again"] = paths["sampled"]
    expected, lost, content = files.run(files.model), {}, {}
    for name, more in paths.items():
        outcome = graphquant(
            "quantize", files.model, "--weight-only", "--bits", 2, "--uniform", "--target",
            "litert", "--output", "prob", "--save-path", tmp_path / name, "--json", *more,
        )  # fmt: skip
        assert outcome.exit_code == 0, outcome.stderr
        methods = {layer["method"] for layer in json.loads(outcome.stdout)["rounded"]}
        assert methods <= {"nearest"} if name == "plain" else "gptq" in methods
        lost[name] = np.square(files.run(tmp_path / f"{name}.pb") - expected).mean()
        content[name] = (tmp_path / f"{name}.pb").read_bytes()
    assert lost["sampled"] < lost["plain"]
    assert content["again"] == content["sampled"]


def test_layers_that_are_quantised_otherwise_are_named(graphquant: Run, tmp_path: Path) -> None:
    """A small one that has 8 bits, and one with too few samples for GPTQ."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 6, 6, 4], "images")
        x = tf.nn.conv2d(x, random.random((1, 1, 4, 2), np.float32), 1, "SAME", name="small")
        tf.matmul(tf.reshape(x, [-1, 72]), random.random((72, 9), np.float32), name="large")
    (tmp_path / "net.pb").write_bytes(graph.as_graph_def().SerializeToString())
    np.save(tmp_path / "few.npy", random.random((5, 6, 6, 4), np.float32))
    outcome = graphquant(
        "quantize", tmp_path / "net.pb", "--weight-only", "--bits", 4, "--target", "litert",
        "--save-path", tmp_path / "m", "--calibration", tmp_path / "few.npy",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    reason = "its 72 inputs were seen 5 times; at least as often is needed"
    assert outcome.stdout.splitlines()[:3] == [
        "the weights of 2 ops are quantised",
        '1 small layer has 8 bits, such as "small"',
        f'"large" is rounded to the nearest: {reason}',
    ]


@pytest.mark.skipif(find_spec("tf2onnx") is None, reason="needs graphquant-export[onnx]")
def test_weights_alone_are_verified_with_what_was_written(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """A target without a .pb of its own: the graph and the parameters stand beside its file.

    What stays float is counted, and one is named.
    """
    path = tmp_path / "m"
    outcome = graphquant(
        "quantize", files.model, "--weight-only", "--bits", 4, "--target", "onnx",
        "--output", "prob", "--skip-layer", "dense", "--save-path", path,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    assert '1 op is quantised; 1 stays float, such as "dense": ' in outcome.stdout
    names = ["m.onnx", "m.pb", "m.json"]
    assert outcome.stdout.splitlines()[1:] == [f"wrote {tmp_path / name}" for name in names]
    verified = graphquant(
        "verify", f"{path}.pb", "--record", f"{path}.json", "--target", "onnx",
        "--save-path", path, "--samples", files.samples,
    )  # fmt: skip
    assert verified.exit_code == 0, verified.stderr
    again = graphquant(
        "export", f"{path}.pb", "--record", f"{path}.json", "--target", "onnx",
        "--save-path", tmp_path / "again",
    )  # fmt: skip
    assert again.exit_code == 0, again.stderr
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    useless = graphquant(
        "export", f"{path}.pb", "--record", f"{path}.json", "--target", "onnx",
        "--save-path", tmp_path / "more", "--calibration", files.samples,
    )  # fmt: skip
    assert useless.exit_code == 2
    assert "--samples" in useless.stderr
    assert "leave it out" in useless.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "m.pb", "--record", "r.txt", "--target", "mnn"),
        ("quantize", "m.pb", "--calibration", "x.npy", "--target", "mnn"),
        ("quantize", "m.pb", "--weight-only", "--target", "onnx"),
    ],
    ids=" ".join,
)
def test_the_model_itself_is_never_overwritten(
    graphquant: Run, files: Any, tmp_path: Path, monkeypatch: Any, arguments: tuple[str, ...]
) -> None:
    """Exit code 2 and another name where a .pb would take the model's, however it is spelt."""
    content = files.model.read_bytes()
    (tmp_path / "m.pb").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    for save_path in ("m", "./m", tmp_path / "m"):
        outcome = graphquant(*arguments, "--save-path", save_path)
        assert outcome.exit_code == 2
        assert "would be written over the model itself" in outcome.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["m.pb"]
    assert (tmp_path / "m.pb").read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        (("quantize", "--target", "mnn"), ".json"),
        (("quantize", "--target", "onnx"), "_record.txt"),
        (("quantize", "--target", "ascend"), "_deploy.pb"),
        (("quantize", "--target", "onnx", "--weight-only"), ".pb"),
        (("export", "--record", "r.txt", "--target", "litert"), ".tflite"),
        (("export", "--record", "r.txt", "--target", "onnx"), "_record.txt"),
        (("tune", "--target", "mnn", "--weight-only"), ".mnn"),
    ],
)
def test_no_file_takes_the_place_of_the_samples(
    graphquant: Run, files: Any, tmp_path: Path, arguments: tuple[str, ...], ending: str
) -> None:
    """Exit code 2 before they are read, whatever command writes and whatever it writes."""
    samples = tmp_path / f"m{ending}"
    samples.write_bytes(b"the only copy")
    command, *others = arguments
    given = "--samples"
    outcome = graphquant(
        command, files.model, given, samples, *others, "--save-path", tmp_path / "m"
    )
    assert outcome.exit_code == 2
    assert f"m{ending} would be written over the" in outcome.stderr
    assert "samples itself" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == [samples.name]
    assert samples.read_bytes() == b"the only copy"


@pytest.mark.parametrize(
    ("target", "ending"), [("ascend", "_quantized.pb"), ("ascend", "_deploy.pb"), ("mnn", ".pb")]
)
def test_no_file_of_a_target_takes_the_place_of_the_model(
    graphquant: Run, files: Any, tmp_path: Path, target: str, ending: str
) -> None:
    """Whatever the names of the target's files end in; the Ascend pair is two more .pb files."""
    model = tmp_path / f"m{ending}"
    model.write_bytes(files.model.read_bytes())
    outcome = graphquant(
        "quantize", model, "--calibration", files.samples, "--target", target,
        "--output", "prob", "--save-path", tmp_path / "m",
    )  # fmt: skip
    assert outcome.exit_code == 2
    assert f"m{ending} would be written over the model itself" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == [model.name]


def test_no_file_of_a_target_takes_the_place_of_the_record(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """The .json beside an .mnn file is another than the one that was given."""
    params = tmp_path / "m.json"
    params.write_text("{}")
    outcome = graphquant(
        "export", files.model, "--record", params, "--target", "mnn", "--save-path", tmp_path / "m"
    )
    assert outcome.exit_code == 2
    assert "m.json would be written over the record itself" in outcome.stderr
    assert params.read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--samples is missing"),
        (["--weight-only", "--calibration", "x.npy"], "samples (x.npy) cannot be read"),
        (["--calibration", "x.npy", "--bits", "4"], "--bits is for --weight-only"),
        (["--calibration", "x.npy", "--symmetric"], "--symmetric is for --weight-only"),
        (["--calibration", "x.npy", "--uniform"], "--uniform is for --weight-only"),
        (["--weight-only", "--activation", "min_max"], "--activation is for the ranges"),
        (["--weight-only", "--batch-size", "8"], "--batch-size is for the ranges of activations"),
        (["--weight-only", "--no-equalize"], "--no-equalize is for the ranges of activations"),
        (["--weight-only", "--no-correct-bias"], "--no-correct-bias is for the ranges"),
        (["--weight-only", "--correct-bias"], "--correct-bias is for the ranges"),
        (["--weight-only", "--bits", "9"], "bits (9)"),
        (["--weight-only", "--layer-bits", "conv"], "--layer-bits (conv)"),
        (["--calibration", "missing.npy"], "missing.npy"),
        (["--calibration", "SAMPLES", "--activation", "ifrm"], 'did you mean "ifmr"?'),
        (["--calibration", "SAMPLES", "--target", "ascent"], 'did you mean "ascend"?'),
        (["--calibration", "SAMPLES", "--output", "probs"], 'did you mean "prob"?'),
        (["--calibration", "SAMPLES", "--skip-layer", "cov"], 'did you mean "conv"?'),
        (["--calibration", "SAMPLES", "--save-path", "SAMPLES/m"], "not a directory"),
        (["--calibration", "SAMPLES", "--save-path", "out/"], 'such as "out/model"'),
        (["--calibration", "SAMPLES", "--save-path", ""], 'such as "model"'),
        (["--calibration", "SAMPLES", "--save-path", ".."], 'such as "../model"'),
        (["--weight-only"], "int8 models only"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_wrong_is_one_line_and_writes_nothing(
    graphquant: Run, files: Any, tmp_path: Path, arguments: list[str], says: str
) -> None:
    """Exit code 2, one line that names the option and what is closest, and no file."""
    given = [item.replace("SAMPLES", str(files.samples)) for item in arguments]
    defaults = {"--target": "ascend", "--save-path": tmp_path / "m"}
    more = [part for option in defaults.items() if option[0] not in given for part in option]
    outcome = graphquant("quantize", files.model, *given, *more)
    assert outcome.exit_code == 2
    assert says in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_graphquant_wq_the_error_says_what_to_install(
    graphquant: Run, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command starts without the package that only some of its options need."""
    monkeypatch.setitem(sys.modules, "graphquant_wq", None)
    outcome = graphquant(
        "quantize", files.model, "--weight-only", "--target", "mnn", "--save-path", tmp_path / "m"
    )
    assert outcome.exit_code == 2
    assert "pip install ./packages/wq" in outcome.stderr


def test_a_saved_model_goes_through(graphquant: Run, tmp_path: Path) -> None:
    """A SavedModel of TensorFlow 2 is quantised like a frozen graph."""

    class Module(tf.Module):
        """A dense layer."""

        def __init__(self) -> None:
            self.weight = tf.Variable(tf.random.stateless_normal([8, 3], [1, 2]), name="weight")

        @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, "x")], autograph=False)
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.nn.softmax(tf.matmul(x, self.weight, name="dense"))

    tf.saved_model.save(Module(), str(tmp_path / "saved"))
    np.savez(tmp_path / "samples.npz", x=np.random.default_rng(0).random((9, 8), np.float32))
    outcome = graphquant(
        "quantize", tmp_path / "saved", "--calibration", tmp_path / "samples.npz", "--target",
        "ascend", "--save-path", tmp_path / "m", "--json",
    )  # fmt: skip
    assert json.loads(outcome.stdout)["layers"] == ["dense"]


def test_without_a_terminal_there_is_no_progress(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """Nothing but the result reaches a pipe."""
    outcome = _quantize(graphquant, files, "--target", "ascend", "--save-path", tmp_path / "m")
    assert "\x1b" not in outcome.stdout + outcome.stderr
    assert "calibrating" not in outcome.stdout + outcome.stderr


def test_on_a_terminal_there_is_progress(
    graphquant: Run, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar counts the samples on stderr; stdout has the result alone."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = _quantize(graphquant, files, "--target", "ascend", "--save-path", tmp_path / "m")
    assert "calibrating" in outcome.stderr
    assert "20/20" in outcome.stderr
    assert outcome.stdout.startswith("3 layers are quantised")


def test_layers_left_float_are_told_once_and_listed_on_demand(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """One warning; with --verbose a note for each."""
    arguments = (
        "quantize", files.model, "--calibration", files.samples, "--target", "ascend", "--output",
        "prob", "--save-path", tmp_path / "m", "--skip-layer", "conv", "--skip-layer", "pool",
    )  # fmt: skip
    quiet, verbose = graphquant(*arguments), graphquant("--verbose", *arguments)
    for outcome in (quiet, verbose):
        assert outcome.exit_code == 0, outcome.stderr
        assert outcome.stderr.count("warning: 2 of 3 layers stay float in Ascend: ") == 1
    assert "note: " not in quiet.stderr
    for name in ('"conv" (Conv2D)', '"pool" (AvgPool)'):
        assert verbose.stderr.count(f"note: layer {name} stays float in Ascend: ") == 1
