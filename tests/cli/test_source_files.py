"""`verify` and `report` find what stands beside the files: the record, and the graph it is of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphquant_cli.source_files import find_sources
from graphquant_core.exceptions import ModelFileError
from graphquant_export.targets.mnn import LayerParams, save_compress_params

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
    ("record", "weights", "words"),
    [
        (False, False, "--record is missing, and none stands at --save-path"),
        (True, True, "both stand there; name the one"),
    ],
)
def test_none_and_two_records_are_errors(
    tmp_path: Path, record: bool, weights: bool, words: str
) -> None:
    """Both names are said, and the option that decides."""
    prefix = tmp_path / "m"
    if record:
        Path(f"{prefix}_record.txt").write_text("")
    if weights:
        save_compress_params(f"{prefix}.json", [LayerParams("conv", 4, True)])
    with pytest.raises(ModelFileError, match=words) as raised:
        find_sources(tmp_path / "m.pb", None, prefix, ["ascend"])
    for word in ("--record", "m_record.txt", "m.json"):
        assert word in str(raised.value)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"layers": 3}'])
def test_a_json_of_another_kind_is_no_record(tmp_path: Path, content: str) -> None:
    """Somebody's own file beside the record, or alone."""
    prefix, record = tmp_path / "m", tmp_path / "m_record.txt"
    Path(f"{prefix}.json").write_text(content)
    with pytest.raises(ModelFileError, match="--record is missing"):
        find_sources(tmp_path / "m.pb", None, prefix, ["ascend"])
    record.write_text("")
    assert find_sources(tmp_path / "m.pb", None, prefix, ["ascend"]) == (record, None)


def test_a_graph_counts_only_beside_its_own_record(tmp_path: Path) -> None:
    """Neither where the record is from elsewhere, nor where the model is that graph."""
    graph, record, other = (tmp_path / name for name in ("m.pb", "m.json", "record.json"))
    for path in (graph, record, other):
        path.write_text("")
    prefix, model = tmp_path / "m", tmp_path / "float.pb"
    assert find_sources(model, record, prefix, ["litert"]) == (record, graph)
    assert find_sources(graph, record, prefix, ["litert"]) == (record, None)
    assert find_sources(model, other, prefix, ["litert"]) == (other, None)
