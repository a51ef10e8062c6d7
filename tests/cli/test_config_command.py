"""`graphquant config`: both forms of a configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

SHORT = """
batch_num: 2
skip_layer_types: "AvgPool"
override_layer_configs {
  layer_name: "dense"
  retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: 6.0 clip_min: -6.0 } } }
}
"""


@pytest.fixture
def short(tmp_path: Path) -> Path:
    path = tmp_path / "short.cfg"
    path.write_text(SHORT)
    return path


def test_write_is_what_the_python_call_writes(
    graphquant: Run, files: Any, tmp_path: Path, short: Path
) -> None:
    """The JSON holds every layer, with what the short form says; and it passes the check."""
    path = tmp_path / "config.json"
    assert graphquant("config", "write", files.model, path).exit_code == 0
    config = json.loads(path.read_text())
    assert {name for name in config if isinstance(config[name], dict)} == {"conv", "pool", "dense"}
    assert graphquant("config", "check", path, files.model).exit_code == 0
    assert graphquant("config", "write", files.model, path, "--definition", short).exit_code == 0
    config = json.loads(path.read_text())
    assert config["batch_num"] == 2
    assert config["pool"]["retrain_enable"] is False
    assert config["dense"]["retrain_data_config"]["clip_max"] == 6.0


def test_both_forms_are_checked(graphquant: Run, files: Any, tmp_path: Path, short: Path) -> None:
    """A form that fits is 0, one with an unknown layer is 1 with the closest name."""
    outcome = graphquant("config", "check", short, files.model)
    assert (outcome.exit_code, outcome.stdout) == (
        0,
        "fits the model: 2 of 3 layers are quantised\n",
    )
    short.write_text(SHORT.replace('"dense"', '"dens"'))
    outcome = graphquant("config", "check", short, files.model)
    assert outcome.exit_code == 1
    assert 'did you mean "dense"?' in outcome.stderr
    path = tmp_path / "config.json"
    path.write_text('{"version": 1, "batch_num": 0, "conv": {"retrain_enable": false}}')
    outcome = graphquant("config", "check", path, files.model, "--json")
    assert outcome.exit_code == 1
    found = json.loads(outcome.stdout)
    assert found["ok"] is False
    assert "batch_num (0)" in found["problem"]


def test_explain_says_what_each_layer_gets(graphquant: Run, files: Any, short: Path) -> None:
    """Each op of the plan is a line: how it is quantised, or why it isn't."""
    outcome = graphquant("config", "explain", short, files.model)
    assert outcome.exit_code == 0
    rows = {line.split()[0]: line for line in outcome.stdout.splitlines() if line.strip()}
    assert "range from the first 2 batches" in rows["conv"]
    assert "16 scales" in rows["conv"]
    assert "range from -6 to 6" in rows["dense"]
    assert "1 scale" in rows["dense"]
    assert "the configuration switches it off" in rows["pool"]
    assert "transpose_b" in rows["similarity"]


def test_explain_as_json(graphquant: Run, files: Any, short: Path) -> None:
    """--json has the same rows as the table."""
    outcome = graphquant("config", "explain", short, files.model, "--json")
    assert {row["name"]: row["quantized"] for row in json.loads(outcome.stdout)} == {
        "conv": True,
        "pool": False,
        "similarity": False,
        "dense": True,
    }


def test_without_graphquant_qat_the_error_says_what_to_install(
    graphquant: Run, files: Any, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands that need the package name it; the others go on."""
    monkeypatch.setitem(sys.modules, "graphquant_qat", None)
    outcome = graphquant("config", "check", short, files.model)
    assert outcome.exit_code == 2
    assert "pip install ./packages/qat" in outcome.stderr
    assert graphquant("plan", files.model).exit_code == 0
