"""`graphquant plugins`, and commands that plugins add."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from graphquant_cli.main import build_app
from graphquant_core.exceptions import PluginError
from graphquant_core.hookspecs import hookimpl
from graphquant_core.registry import build_registry, load_registry

Run = Callable[..., Any]
Hook = Callable[[typer.Typer], None]


@hookimpl
def _adds_hello(app: typer.Typer) -> None:
    @app.command("hello")
    def hello() -> None:
        typer.echo("hello from a plugin")


@hookimpl
def _raises(app: typer.Typer) -> None:
    app.command("good")(lambda: None)
    raise RuntimeError("no app today")


@hookimpl
def _cannot_be_parsed(app: typer.Typer) -> None:
    def bad(argument: list[list[int]]) -> None: ...

    app.command("good")(lambda: None)
    app.command("bad")(bad)


def _run(hook: Hook, *arguments: str) -> str:
    plugin = SimpleNamespace(graphquant_commands=hook)
    app = build_app(build_registry([("mine", plugin)]))
    outcome = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return outcome.output


def test_json_names_the_owner_of_every_handler(graphquant: Run) -> None:
    """--json lists each registered op type with the plugin and the version that own it."""
    outcome = graphquant("plugins", "--json")
    assert outcome.exit_code == 0
    owners = json.loads(outcome.stdout)["owners"]
    op_types = {owner["name"] for owner in owners if owner["kind"] == "op_type"}
    assert op_types == set(load_registry().handlers)
    assert {
        "kind": "op_type",
        "name": "MatMul",
        "plugin": "builtin_handlers",
        "distribution": "graphquant-core",
        "version": version("graphquant-core"),
    } in owners


def test_table_names_the_owner_of_every_handler(graphquant: Run) -> None:
    """Without --json each op type is a line of a table with its owner."""
    rows = [line.split() for line in graphquant("plugins").stdout.splitlines()]
    assert ["op_type", "MatMul", "builtin_handlers", "graphquant-core"] in [row[:4] for row in rows]


def test_plugin_adds_a_command() -> None:
    """A command that a plugin adds to the app runs like a built-in one."""
    assert _run(_adds_hello, "hello") == "hello from a plugin\n"


@pytest.mark.parametrize("name", ["plan", "plugins"])
def test_plugin_cannot_replace_a_built_in_command(name: str) -> None:
    """The built-in command stays, and the plugin is listed as failed, with the name."""

    @hookimpl
    def hook(app: typer.Typer) -> None:
        app.command(name)(lambda: typer.echo("not the built-in command"))

    assert "not the built-in command" not in _run(hook, name, "--help")
    (failure,) = json.loads(_run(hook, "plugins", "--json"))["failures"]
    assert f'its command "{name}" has the name of a built-in one' in failure["reason"]


@pytest.mark.parametrize(
    ("hook", "reason"), [(_raises, "no app today"), (_cannot_be_parsed, "sub-types")]
)
def test_plugin_whose_commands_fail_is_reported(hook: Hook, reason: str) -> None:
    """It is listed with its reason, and none of its commands is there: not even a good one."""
    failures = json.loads(_run(hook, "plugins", "--json"))["failures"]
    assert [failure["plugin"] for failure in failures] == ["mine"]
    assert reason in failures[0]["reason"]
    assert reason in _run(hook, "plugins")
    assert "good" not in _run(hook, "--help")


def test_commands_have_owners() -> None:
    """`plugins` lists a command, and a group of commands, with the plugin that added it."""

    @hookimpl
    def hook(app: typer.Typer) -> None:
        _adds_hello(app)
        group = typer.Typer()
        group.command("one")(lambda: None)
        app.add_typer(group, name="many")

    owners = json.loads(_run(hook, "plugins", "--json"))["owners"]
    commands = {owner["name"]: owner["plugin"] for owner in owners if owner["kind"] == "command"}
    assert commands == {"hello": "mine", "many": "mine"}


def test_two_plugins_with_one_command_are_an_error() -> None:
    """The error names the command and both plugins; nobody overwrites anybody."""
    plugins = [(name, SimpleNamespace(graphquant_commands=_adds_hello)) for name in ("a", "b")]
    with pytest.raises(PluginError, match=r'command "hello".*plugin "a" and by plugin "b"'):
        build_app(build_registry(plugins))
