"""Completion in a shell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from graphquant_core.registry import load_registry

_RUN = "from graphquant_cli.main import main; main()"


def _completions(words: str) -> set[str]:
    """What bash is offered for the last of `words`."""
    environment = {
        **os.environ,
        "_GRAPHQUANT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", _RUN], env=environment, capture_output=True, text=True, check=False
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [("graphquant pl", {"plan", "plugins"}), ("graphquant record ", {"show", "check", "diff"})],
)
def test_commands_are_completed(words: str, offered: set[str]) -> None:
    """The commands, and those of a group, that start with what was typed."""
    assert _completions(words) == offered


def test_targets_are_completed() -> None:
    """--target offers the exporters that are installed."""
    assert _completions("graphquant export m.pb --target ") == set(load_registry().exporters)
