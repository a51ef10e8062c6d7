"""The help of every command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from graphquant_cli.main import build_app
from graphquant_core.registry import build_registry

APP = get_command(build_app(build_registry([])))


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, child in inner.items():
        yield from _commands(child, (*path, name))


COMMANDS = dict(_commands(APP))


def _examples(command: Any) -> list[list[str]]:
    lines = (command.epilog or "").splitlines()
    return [shlex.split(line) for line in lines if line.strip().startswith("graphquant ")]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_examples_in_help_are_valid_command_lines(path: tuple[str, ...]) -> None:
    """Each example is of the command that shows it, and its options and arguments parse."""
    command = COMMANDS[path]
    examples = _examples(command)
    assert examples or path == ("plugins",)
    for words in examples:
        assert tuple(words[1 : 1 + len(path)]) == path
        command.make_context(path[-1], words[1 + len(path) :])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_that_prints_results_has_json(path: tuple[str, ...]) -> None:
    """--json is an option of each command but the one that only writes a file."""
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert ("--json" in options) == (path != ("config", "write"))


def test_the_exit_codes_are_in_the_help() -> None:
    """What a script can rely on is in `graphquant --help`."""
    assert "1 a check found something" in APP.epilog
