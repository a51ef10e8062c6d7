"""`graphquant tune` and `graphquant sensitivity`."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphquant_core.record import read_record
from graphquant_export.targets.onnx.runtime import OnnxRuntime

Run = Callable[..., Any]


def _tune(graphquant: Run, files: Any, *more: object) -> Any:
    return graphquant(
        "tune", files.model, "--samples", files.samples, "--output", "prob", "--steps", 3,
        "--batch-size", 10, *more,
    )  # fmt: skip


def test_weights_are_tuned_exported_and_verified(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """The files that `verify` takes, what was found out, and the quality before and after."""
    pytest.importorskip("onnxruntime")
    options = ("--target", "onnx", "--weight-only", "--bits", 3, "--save-path", tmp_path / "m")
    outcome = _tune(graphquant, files, *options)
    assert outcome.exit_code == 0, outcome.stderr
    for said in ("without training", "tuned", "2 layers are quantised", "onnx: verified on 20"):
        assert said in outcome.stdout
    names = {"m.onnx", "m.pb", "m.json", "m_tune.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    read = json.loads((tmp_path / "m_tune.json").read_text())
    assert {layer["name"]: layer["bits"] for layer in read["layers"]} == {"conv": 3, "dense": 3}
    verified = graphquant(
        "verify", tmp_path / "m.pb", "--record", tmp_path / "m.json", "--target", "onnx",
        "--save-path", tmp_path / "m", "--samples", files.samples,
    )  # fmt: skip
    assert verified.exit_code == 0, verified.stdout + verified.stderr


def test_a_report_is_written_beside_the_files(graphquant: Run, files: Any, tmp_path: Path) -> None:
    """The page with its data; what is in the summary is in it, and the layers are compared."""
    options = ("--target", "ascend", "--save-path", tmp_path / "m")
    outcome = _tune(graphquant, files, *options, "--report", tmp_path / "r.html")
    assert outcome.exit_code == 0, outcome.stderr
    assert f"wrote {tmp_path / 'r.html'}" in outcome.stdout
    read = json.loads((tmp_path / "r.json").read_text())
    summary = json.loads((tmp_path / "m_tune.json").read_text())
    record = (tmp_path / "m_record.txt").read_bytes()
    assert summary.pop("record_sha256") == hashlib.sha256(record).hexdigest()
    assert read["tuning"] == summary
    assert len(summary["curve"]) == 3
    assert [row["layer"] for row in read["targets"][0]["layers"]] == ["conv", "pool", "dense"]


def test_int8_is_tuned_and_keeps_a_record(graphquant: Run, files: Any, tmp_path: Path) -> None:
    """The graph and its record export again to the same files; --labels give the accuracy."""
    expected = files.run(files.model)
    np.save(tmp_path / "labels.npy", expected.argmax(axis=1))
    outcome = _tune(
        graphquant, files, "--target", "ascend", "--save-path", tmp_path / "m",
        "--labels", tmp_path / "labels.npy", "--json",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    read = json.loads(outcome.stdout)
    assert read["verified"] is True
    assert set(read_record(tmp_path / "m_record.txt")) == {"conv", "pool", "dense"}
    assert [Path(path).name for path in read["paths"]] == [
        "m_quantized.pb", "m_deploy.pb", "m.pb", "m_record.txt", "m_tune.json"
    ]  # fmt: skip
    np.testing.assert_allclose(files.run(tmp_path / "m_quantized.pb"), expected, atol=0.03)
    again = graphquant(
        "export", tmp_path / "m.pb", "--record", tmp_path / "m_record.txt", "--target", "ascend",
        "--save-path", tmp_path / "again",
    )  # fmt: skip
    assert again.exit_code == 0, again.stderr
    one, other = (tmp_path / f"{name}_quantized.pb" for name in ("m", "again"))
    assert one.read_bytes() == other.read_bytes()


def test_the_graph_takes_no_place_of_a_targets_file(
    graphquant: Run, files: Any, tmp_path: Path
) -> None:
    """MNN's runtime needs the .pb that was converted; the tuned graph lies beside it."""
    pytest.importorskip("MNN")
    target = ("--target", "mnn", "--save-path", tmp_path / "m")
    outcome = _tune(graphquant, files, *target)
    assert outcome.exit_code == 0, outcome.stderr
    written = [line.split("wrote ")[1] for line in outcome.stdout.splitlines() if "wrote" in line]
    assert len(set(written)) == len(written)
    assert str(tmp_path / "m_tuned.pb") in written
    verified = graphquant(
        "verify", tmp_path / "m_tuned.pb", "--record", tmp_path / "m_record.txt", *target,
        "--samples", files.samples, "--layers",
    )  # fmt: skip
    assert verified.exit_code == 0, verified.stdout + verified.stderr
    exported = graphquant(
        "export", tmp_path / "m_tuned.pb", "--record", tmp_path / "m_record.txt", "--target", "mnn",
        "--save-path", tmp_path / "again",
    )  # fmt: skip
    assert exported.exit_code == 0, exported.stderr
    assert (tmp_path / "again.pb").read_bytes() == (tmp_path / "m.pb").read_bytes()


def test_sensitivity_is_a_table_or_json(graphquant: Run, files: Any) -> None:
    """One row for each layer with a weight, a column for each width; why others stay float."""
    arguments = ("sensitivity", files.model, "--samples", files.samples, "--output", "prob")
    table = graphquant(*arguments)
    assert table.exit_code == 0, table.stderr
    for word in ("conv", "dense", "8 bits", "2 bits"):
        assert word in table.stdout
    read = json.loads(graphquant(*arguments, "--json").stdout)
    assert [row["name"] for row in read["layers"]] == ["conv", "dense"]
    for row in read["layers"]:
        assert row["distance"]["8"] < row["distance"]["2"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--bits", 3), "--bits (3) is for --weight-only"),
        (("--weight-only", "--bits", 3, "--size", "9kB"), "bits and size are given"),
        (("--weight-only", "--within", "much"), "within ('much') must be"),
        (("--weight-only", "--size", "1B"), "cannot be reached: the smallest has"),
        (("--weight-only", "--target", "onx"), 'did you mean "onnx"'),
        (("--labels", "nothing.npy"), "nothing.npy"),
        (("--weight-only", "--report", "{prefix}.html"), "m.json would be written over another"),
        (("--target", "mnn", "--report", "{prefix}.html"), "m.json would be written over another"),
        (("--report", "{prefix}.json"), "must not end in .json"),
        (("--report", "{folder}"), "it is a directory"),
        (("--labels", "{folder}/few.npy"), "are 3, the samples 20"),
    ],
)
def test_a_wrong_option_is_one_error_and_no_file(
    graphquant: Run, files: Any, tmp_path: Path, more: tuple[object, ...], message: str
) -> None:
    """On stderr, with the option's value; nothing half-written."""
    if "--size" in more:
        pytest.importorskip("onnxruntime")
    target = () if "--target" in more else ("--target", "onnx")
    folder = files.samples.parent
    np.save(folder / "few.npy", np.zeros(3, np.int64))
    given = [str(one).format(folder=folder, prefix=tmp_path / "m") for one in more]
    outcome = _tune(graphquant, files, *target, "--save-path", tmp_path / "m", *given)
    assert outcome.exit_code == 2
    assert message in " ".join(outcome.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_half_of_a_file(graphquant: Run, files: Any, tmp_path: Path) -> None:
    """One error that says so, and no file but whole ones, however far it came."""

    def run(name: str) -> tuple[Any, dict[str, bytes]]:
        prefix = tmp_path / name / "m"
        options = ("--target", "ascend", "--save-path", prefix, "--steps", 0)
        outcome = _tune(graphquant, files, *options, "--report", prefix.with_name("r.html"))
        written = prefix.parent.iterdir() if prefix.parent.exists() else ()
        return outcome, {path.name: path.read_bytes() for path in written}

    outcome, whole = run("whole")
    assert outcome.exit_code == 0, outcome.stderr
    sizes = sorted(len(content) for content in whole.values())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (sizes[0] - 1, sizes[1], sizes[-1] - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            outcome, found = run(f"limit{limit}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert outcome.exit_code == 2
        (line,) = [one for one in outcome.stderr.splitlines() if one.startswith("error: ")]
        assert "File too large" in line
        assert len(found) < len(whole)
        assert all(content == whole[name] for name, content in found.items())


def test_files_that_compute_something_else_are_told_by_the_exit_code(
    graphquant: Run, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written, the problem is an error line, and the code is that of a failed check."""
    pytest.importorskip("onnxruntime")
    right = OnnxRuntime.run

    def turned_around(self: OnnxRuntime, feeds: Any, outputs: Any) -> Any:
        return {name: 1 - value for name, value in right(self, feeds, outputs).items()}

    monkeypatch.setattr(OnnxRuntime, "run", turned_around)
    options = ("--target", "onnx", "--weight-only", "--save-path", tmp_path / "m")
    outcome = _tune(graphquant, files, *options)
    assert outcome.exit_code == 1
    assert "error: " in outcome.stderr
    assert "verified on" not in outcome.stdout
    assert (tmp_path / "m.onnx").exists()


def test_without_the_package_the_error_says_what_to_install(
    graphquant: Run, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the package's folder."""
    monkeypatch.setitem(sys.modules, "graphquant_tune", None)
    options = ("--target", "onnx", "--weight-only", "--save-path", tmp_path / "m")
    outcome = _tune(graphquant, files, *options)
    assert outcome.exit_code != 0
    assert "./packages/tune" in outcome.stderr
