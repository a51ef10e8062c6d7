"""`verify` and `report` find what stands beside the files: the record, and the graph it is of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphquant_cli.source_files import find_sources
from graphquant_core.exceptions import ModelFileError

Run = Callable[..., Any]


@pytest.fixture
def arguments(files: Any, tmp_path: Path) -> tuple[object, ...]:
    """What all commands here are given."""
    given = ("--output", "prob", "--samples", files.samples, "--target", "ascend")
    return (files.model, *given, "--save-path", tmp_path / "m")


@pytest.mark.parametrize("command", ["verify", "report"])
def test_the_record_beside_the_files_is_found(
    graphquant: Run, arguments: tuple[object, ...], tmp_path: Path, command: str
) -> None:
    """The command that follows `quantize` takes the same arguments."""
    done = graphquant("quantize", *arguments)
    assert done.exit_code == 0, done.stderr
    page = ("--page", tmp_path / "page.html") if command == "report" else ()
    outcome = graphquant(command, *arguments, *page)
    assert outcome.exit_code == 0, outcome.stderr


def test_the_tuned_graph_counts_as_long_as_its_record_stands(
    graphquant: Run, arguments: tuple[object, ...], tmp_path: Path
) -> None:
    """`tune` changes weights, so that its graph is verified; `quantize` doesn't, and has none."""
    model, prefix = tmp_path / "other.pb", tmp_path / "m"
    done = graphquant("tune", *arguments, "--steps", 1, "--batch-size", 8)
    assert done.exit_code == 0, done.stderr
    record = Path(f"{prefix}_record.txt")
    assert find_sources(model, None, prefix, ["ascend"]) == (record, Path(f"{prefix}.pb"))
    outcome = graphquant("verify", *arguments, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    (output,) = json.loads(outcome.stdout)["outputs"]
    assert output["float_model"] != output["simulation"]
    done = graphquant("quantize", *arguments, "--activation", "min_max")
    assert done.exit_code == 0, done.stderr
    assert find_sources(model, None, prefix, ["ascend"]) == (record, None)
    assert graphquant("verify", *arguments).exit_code == 0


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ((), "--record is missing, and none stands at --save-path"),
        (("_record.txt", ".json"), "both stand there; name the one"),
    ],
)
def test_none_and_two_records_are_errors(
    tmp_path: Path, written: tuple[str, ...], words: str
) -> None:
    """Both names are said, and the option that decides."""
    prefix = tmp_path / "m"
    for ending in written:
        Path(f"{prefix}{ending}").write_text("")
    with pytest.raises(ModelFileError, match=words) as raised:
        find_sources(tmp_path / "m.pb", None, prefix, ["ascend"])
    for word in ("--record", "m_record.txt", "m.json"):
        assert word in str(raised.value)


def test_a_graph_counts_only_beside_its_own_record(tmp_path: Path) -> None:
    """Neither where the record is from elsewhere, nor where the model is that graph."""
    graph, record, other = (tmp_path / name for name in ("m.pb", "m.json", "record.json"))
    for path in (graph, record, other):
        path.write_text("")
    prefix, model = tmp_path / "m", tmp_path / "float.pb"
    assert find_sources(model, record, prefix, ["litert"]) == (record, graph)
    assert find_sources(graph, record, prefix, ["litert"]) == (record, None)
    assert find_sources(model, other, prefix, ["litert"]) == (other, None)
