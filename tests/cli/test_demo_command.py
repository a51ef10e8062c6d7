"""`graphquant demo`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_the_quantised_models_know_the_digits(graphquant: Run, tmp_path: Path) -> None:
    """Both ways of quantising keep the float model's accuracy within three points."""
    pytest.importorskip("sklearn")
    outcome = graphquant("demo", "--folder", tmp_path / "out", "--epochs", 12, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    results = {row["model"]: row for row in json.loads(outcome.stdout)}
    assert list(results) == ["float", "quantised after training", "quantised while training"]
    assert results["float"]["accuracy"] > 0.85
    for row in results.values():
        assert row["accuracy"] >= results["float"]["accuracy"] - 0.03
        assert row["agreement"] > 0.95
        assert Path(row["path"]).is_file()


def test_without_scikit_learn_the_error_says_what_to_install(
    graphquant: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digits come from scikit-learn, which is an extra; nothing is written without it."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    outcome = graphquant("demo", "--folder", tmp_path / "out")
    assert outcome.exit_code == 2
    assert 'pip install "graphquant-cli[demo]"' in outcome.stderr
    assert list(tmp_path.iterdir()) == []
