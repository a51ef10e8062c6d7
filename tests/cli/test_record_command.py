"""`graphquant record`: show, check, diff."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from graphquant_core.record import LayerFactors, Record, write_record

Run = Callable[..., Any]

RECORD = Record(
    {
        "conv": LayerFactors(0.05, -3, np.linspace(0.01, 0.16, 16)),
        "pool": LayerFactors(0.02, -128),
        "dense": LayerFactors(0.04, -128, [0.002]),
    }
)


def _written(path: Path, **changed: LayerFactors | None) -> Path:
    factors = {**RECORD, **changed}
    kept = {name: value for name, value in factors.items() if value is not None}
    write_record(path, Record(kept))
    return path


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return _written(tmp_path / "record.txt")


def test_show_prints_each_layer(graphquant: Run, record: Path) -> None:
    """A line for each layer, with the range that its integers reach; --json has the numbers."""
    outcome = graphquant("record", "show", record)
    rows = {line.split()[0]: line for line in outcome.stdout.splitlines() if line.strip()}
    assert "-6.25 to 6.5" in rows["conv"]
    assert "0.01 to 0.16" in rows["conv"]
    found = {
        row["name"]: row
        for row in json.loads(graphquant("record", "show", record, "--json").stdout)
    }
    assert found["conv"]["weight_scales"] == 16
    assert found["pool"]["largest_scale_w"] is None
    assert found["dense"]["minimum"] == 0


def test_check_tells_whether_the_record_is_the_models(
    graphquant: Run, files: Any, tmp_path: Path, record: Path
) -> None:
    """0 when every entry fits a layer; 1 with the layer, the value and what is allowed."""
    outcome = graphquant("record", "check", record, files.model)
    assert (outcome.exit_code, outcome.stdout) == (0, "all 3 entries fit the model\n")
    partial = _written(tmp_path / "partial.txt", pool=None)
    assert "hence float: pool" in graphquant("record", "check", partial, files.model).stdout
    wrong = _written(tmp_path / "wrong.txt", conv=LayerFactors(0.05, -3, [0.1, 0.2]))
    outcome = graphquant("record", "check", wrong, files.model)
    assert outcome.exit_code == 1
    assert 'scale_w (2 values) of layer "conv" must have 1 or 16' in outcome.stderr
    other = _written(tmp_path / "other.txt", cnov=LayerFactors(0.05, -3, [0.1]))
    outcome = graphquant("record", "check", other, files.model, "--json")
    assert outcome.exit_code == 1
    assert 'did you mean "conv"?' in json.loads(outcome.stdout)["problem"]


def test_equal_records_differ_in_nothing(graphquant: Run, tmp_path: Path, record: Path) -> None:
    """0 and no table for two files with the same factors."""
    outcome = graphquant("record", "diff", record, _written(tmp_path / "again.txt"))
    assert (outcome.exit_code, outcome.stdout) == (0, "0 of 3 layers differ\n")


def test_diff_prints_ratios_and_differences(graphquant: Run, tmp_path: Path, record: Path) -> None:
    """1, and for each layer that differs the ratio of scales and the difference of offsets."""
    other = _written(
        tmp_path / "other.txt",
        conv=attrs.evolve(RECORD["conv"], scale_d=0.055, offset_d=2),
        dense=attrs.evolve(RECORD["dense"], scale_w=[0.004]),
        pool=None,
        extra=LayerFactors(1.0, 0),
    )
    outcome = graphquant("record", "diff", record, other)
    assert outcome.exit_code == 1
    rows = {line.split()[0]: line.split() for line in outcome.stdout.splitlines() if line.strip()}
    assert rows["conv"][1:3] == ["1.1", "+5"]
    assert rows["dense"][1:4] == ["1", "+0", "2"]
    assert rows["pool"][-4:] == ["only", "in", "the", "first"]
    assert rows["extra"][-1] == "second"
    assert outcome.stdout.endswith("4 of 4 layers differ\n")


def test_a_tolerance_lets_small_ratios_pass(graphquant: Run, tmp_path: Path, record: Path) -> None:
    """Scales within the tolerance are the same; an offset never is."""
    near = _written(tmp_path / "near.txt", conv=attrs.evolve(RECORD["conv"], scale_d=0.051))
    assert graphquant("record", "diff", record, near).exit_code == 1
    outcome = graphquant("record", "diff", record, near, "--tolerance", "0.03", "--json")
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout)["same"] is True
    moved = _written(tmp_path / "moved.txt", conv=attrs.evolve(RECORD["conv"], offset_d=-2))
    assert graphquant("record", "diff", record, moved, "--tolerance", "0.5").exit_code == 1


def test_an_empty_record_is_an_error(graphquant: Run, tmp_path: Path) -> None:
    """The library's own sentence, and exit code 2: nothing was compared."""
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    outcome = graphquant("record", "show", empty)
    assert outcome.exit_code == 2
    assert "no layers to be quantized" in outcome.stderr
