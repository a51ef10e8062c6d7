"""`graphquant verify` and `graphquant report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from graphquant_cli.commands.verify import print_verification
from graphquant_core.record import Record, read_record, write_record
from graphquant_export.verification import Comparison, LayerCheck, OutputCheck, Verification

Run = Callable[..., Any]

RUNTIMES = {"litert": "ai_edge_litert", "mnn": "MNN", "onnx": "onnxruntime"}
"""Module of the runtime of each target."""


@attrs.frozen
class Exported:
    """What `quantize` wrote, and labels that the float model gets right.

    Attributes:
        prefix: Start of the names of its files.
        arguments: What every verification of it is given.
    """

    prefix: Path
    arguments: tuple[object, ...]


@pytest.fixture
def exported(graphquant: Run, files: Any, tmp_path: Path) -> Exported:
    prefix = tmp_path / "m"
    options = (files.model, "--output", "prob", "--save-path", prefix)
    done = graphquant("quantize", *options, "--target", "ascend", "--calibration", files.samples)
    assert done.exit_code == 0, done.stderr
    np.save(tmp_path / "labels.npy", files.run(files.model).argmax(axis=1))
    record = ("--record", f"{prefix}_record.txt", "--samples", files.samples)
    return Exported(prefix, (*options, *record))


def test_what_was_exported_verifies(graphquant: Run, exported: Exported) -> None:
    """0, a line for each output beside the integer reference, and the accuracy on the labels."""
    labels = exported.prefix.with_name("labels.npy")
    outcome = graphquant(
        "verify", *exported.arguments, "--target", "ascend", "--labels", labels, "--layers"
    )
    assert outcome.exit_code == 0, outcome.stderr
    rows = [line.split() for line in outcome.stdout.splitlines()]
    assert ["prob", "integer", "reference", "100.00%", "0", "0"] in [row[:6] for row in rows]
    assert [row[0] for row in rows if "int8" in row] == ["conv", "pool", "dense"]
    assert 'accuracy of "prob": 100.00% in float' in outcome.stdout
    beside = 'beside the float model, "prob" has the same top-1 class for '
    assert beside in outcome.stdout
    assert ["prob", "float", "model"] in [row[:3] for row in rows]
    assert outcome.stdout.endswith("ascend: within the limits on 20 samples\n")


@pytest.mark.parametrize("target", RUNTIMES)
def test_every_target_goes_from_float_model_to_verified_files(
    graphquant: Run, files: Any, tmp_path: Path, target: str
) -> None:
    """`quantize` and `verify` are all it takes, with the same arguments, for each runtime."""
    if find_spec(RUNTIMES[target]) is None:
        pytest.skip(f"needs {RUNTIMES[target]}")
    given = ("--output", "prob", "--samples", files.samples, "--target", target)
    options = (files.model, *given, "--save-path", tmp_path / "m")
    done = graphquant("quantize", *options)
    assert done.exit_code == 0, done.stderr
    outcome = graphquant("verify", *options)
    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout.endswith(f"{target}: within the limits on 20 samples\n")


def test_what_is_beyond_the_limits_is_exit_code_1(
    graphquant: Run, exported: Exported, tmp_path: Path
) -> None:
    """Files that were made of another record differ: 1, and each problem is named."""
    record = read_record(f"{exported.prefix}_record.txt")
    doubled = attrs.evolve(record["conv"], scale_d=2 * record["conv"].scale_d)
    write_record(tmp_path / "other.txt", Record({**record, "conv": doubled}))
    outcome = graphquant(
        "verify", *exported.arguments, "--record", tmp_path / "other.txt", "--target", "ascend",
        "--mean", "0.01", "--json",
    )  # fmt: skip
    assert outcome.exit_code == 1, outcome.stderr
    found = json.loads(outcome.stdout)
    assert found["ok"] is False
    assert found["problems"]


@pytest.mark.skipif(find_spec("MNN") is None, reason="needs the wheel MNN")
def test_weights_alone_are_verified_with_their_parameters(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """The .json beside the model stands for the record."""
    prefix = tmp_path / "w"
    done = graphquant(
        "quantize", files.model, "--weight-only", "--bits", 4, "--target", "mnn", "--output",
        "prob", "--save-path", prefix,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    outcome = graphquant(
        "verify", f"{prefix}.pb", "--record", f"{prefix}.json", "--target", "mnn", "--save-path",
        prefix, "--samples", files.samples, "--output", "prob", "--json",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    (output,) = json.loads(outcome.stdout)["outputs"]
    assert output["simulation"]["agreement"] == 1.0
    assert output["float_model"] is None
    outcome = graphquant(
        "verify", f"{prefix}.pb", "--record", f"{prefix}.json", "--target", "mnn", "--save-path",
        prefix, "--samples", files.samples, "--output", "prob", "--float-model", files.model,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    assert 'beside the float model, "prob" has the same top-1 class for ' in outcome.stdout

    outcome = graphquant(
        "verify", files.model, "--target", "mnn", "--save-path", prefix, "--samples",
        files.samples, "--output", "prob",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    assert 'beside the float model, "prob" has the same top-1 class for ' in outcome.stdout


def test_what_ties_carry_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads an agreement below the limit reads why nothing is wrong, too."""
    exact = Comparison(100, 0.5, "range / 255", 1.0, 0.001, 60.0, 0, 1.0, 100, 1.0)
    far = attrs.evolve(exact, agreement=0.5)
    output = OutputCheck("y", far, far, classes=True, own=exact)
    layer = LayerCheck("a", "Conv2D", "a/Relu", "int8", exact, far)
    print_verification(Verification("onnx", (), 100, (output,), (), (layer,)))
    said = capsys.readouterr()
    assert 'output "y": its top-1 agreement is 50.00%' in said.err
    assert "which ties alone do" in said.err
    assert said.out.endswith("onnx: within the limits on 100 samples\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--record", "none.txt"), "--record (none.txt) cannot be read"),
        (("--classes", "probs"), 'classes: "probs" is no output of the model; did you mean "prob"'),
        (("--float-model", "none.pb"), "model (none.pb) cannot be read"),
    ],
)
def test_wrong_options_are_exit_code_2(
    graphquant: Run, exported: Exported, options: tuple[str, ...], words: str
) -> None:
    """What names nothing is named."""
    outcome = graphquant("verify", *exported.arguments, "--target", "ascend", *options)
    assert outcome.exit_code == 2
    assert words in outcome.stderr


@pytest.mark.parametrize("command", ["verify", "report"])
def test_a_missing_artifact_is_exit_code_2(
    graphquant: Run, exported: Exported, command: str
) -> None:
    """Before the model is loaded: a file that isn't there, and where such a one is."""
    there = exported.prefix
    outcome = graphquant(
        command, *exported.arguments, "--target", "ascend", "--save-path", f"{there}s"
    )
    assert outcome.exit_code == 2
    assert f'no file of the target "ascend" stands there, such as "{there}s_qu' in outcome.stderr
    assert f'did you mean "{there}"?' in outcome.stderr


def test_report_writes_a_page_and_its_data(
    graphquant: Run, exported: Exported, tmp_path: Path
) -> None:
    """The page and the JSON beside it hold every layer."""
    page = tmp_path / "page.html"
    outcome = graphquant("report", *exported.arguments, "--target", "ascend", "--page", page)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == f"wrote {page}\nwrote {page.with_suffix('.json')}\n"
    for path in (page, page.with_suffix(".json")):
        assert "dense" in path.read_text()
