"""What `save_quant_retrain_model` accepts, and what it refuses before it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import graphquant_qat as amct
from graphquant_core.exceptions import (
    FileWriteError,
    GraphQuantError,
    ModelFileError,
    OutputNotFoundError,
)
from graphquant_core.graph.frozen import load_graph_def
from graphquant_export.targets.ascend import without_ascend_functions


@pytest.mark.parametrize(
    ("argument", "value", "error", "message"),
    [
        ("pb_model", "missing.pb", ModelFileError, r"pb_model \(missing.pb\).*No such file"),
        ("pb_model", None, ModelFileError, r"pb_model \(None\)"),
        ("pb_model", 3, ModelFileError, r"pb_model \(3\)"),
        ("pb_model", b"model.pb", ModelFileError, "pb_model"),
        ("pb_model", ".", ModelFileError, "pb_model.*directory"),
        ("pb_model", "record", ModelFileError, "pb_model.*not a GraphDef"),
        ("outputs", "prob", OutputNotFoundError, r"outputs \('prob'\) must be a list"),
        ("outputs", None, OutputNotFoundError, r"outputs \(None\) must be a list"),
        ("outputs", 3, OutputNotFoundError, "outputs.*must be a list"),
        ("outputs", {"prob": 0}, OutputNotFoundError, "outputs.*must be a list"),
        ("outputs", ["prob", 3], OutputNotFoundError, "outputs.*must be a list"),
        ("outputs", [], OutputNotFoundError, "at least one"),
        ("outputs", ["probs"], OutputNotFoundError, 'no op "probs"; did you mean "prob"'),
        ("outputs", ["^prob"], OutputNotFoundError, r'no op "\^prob"'),
        ("outputs", [""], OutputNotFoundError, 'no op ""'),
        ("record_file", "missing.txt", ModelFileError, r"record_file \(missing.txt\).*No such"),
        ("record_file", None, ModelFileError, r"record_file \(None\)"),
        ("record_file", ".", ModelFileError, "record_file.*directory"),
        ("record_file", "frozen", GraphQuantError, r"record_file.*no text|malformed"),
        ("save_path", "", FileWriteError, "save_path"),
        ("save_path", "folder/", FileWriteError, "save_path"),
        ("save_path", None, FileWriteError, r"save_path \(None\) must be a path"),
        ("save_path", 3, FileWriteError, r"save_path \(3\) must be a path"),
    ],
)
def test_a_wrong_argument_is_named(
    journey: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argument: str,
    value: Any,
    error: type[Exception],
    message: str,
) -> None:
    """The error has the argument and its value; no file is written."""
    monkeypatch.chdir(tmp_path)
    arguments = {
        "pb_model": journey.frozen,
        "outputs": ["prob"],
        "record_file": journey.record_file,
        "save_path": "model",
    }
    files = {"record": journey.record_file, "frozen": journey.frozen}
    known = files.get(value, value) if isinstance(value, str) else value
    with pytest.raises(error, match=message):
        amct.save_quant_retrain_model(**{**arguments, argument: known})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("outputs", [("prob",), ["prob:0"], ["prob", "prob:0"]])
def test_outputs_may_be_a_tuple_and_have_an_index(
    journey: Any, tmp_path: Path, outputs: Any
) -> None:
    """``"prob:0"`` and ``"prob"`` name the same output; paths may be pathlib's."""
    amct.save_quant_retrain_model(
        Path(journey.frozen), outputs, Path(journey.record_file), tmp_path / "new" / "model"
    )
    written = tmp_path / "new" / "model_quantized.pb"
    assert written.read_bytes() == Path(journey.quantized).read_bytes()


def test_the_deploy_file_is_the_quantised_one_without_its_library(journey: Any) -> None:
    """Same nodes in the same order; both beside each other."""
    quantized = load_graph_def(journey.quantized)
    deployed = load_graph_def(journey.quantized.replace("_quantized.pb", "_deploy.pb"))
    assert deployed == without_ascend_functions(quantized)
    assert not deployed.HasField("library")


def test_a_failure_leaves_the_older_pair(journey: Any, tmp_path: Path) -> None:
    """A wrong output doesn't touch what was saved before."""
    path = tmp_path / "model"
    amct.save_quant_retrain_model(journey.frozen, ["prob"], journey.record_file, str(path))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before) == 2
    with pytest.raises(OutputNotFoundError):
        amct.save_quant_retrain_model(journey.frozen, ["no"], journey.record_file, str(path))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
