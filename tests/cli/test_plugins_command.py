"""`graphquant plugins`, and commands that plugins add."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import typer
from typer.testing import CliRunner

from graphquant_cli.main import build_app
from graphquant_core.hookspecs import hookimpl
from graphquant_core.registry import build_registry, load_registry

Run = Callable[..., Any]


@hookimpl
def _adds_hello(app: typer.Typer) -> None:
    @app.command("hello")
    def hello() -> None:
        typer.echo("hello from a plugin")


@hookimpl
def _adds_plan(app: typer.Typer) -> None:
    @app.command("plan")
    def plan() -> None:
        typer.echo("not the built-in command")


@hookimpl
def _raises(app: typer.Typer) -> None:  # noqa: ARG001 - pluggy matches by name
    raise RuntimeError("no app today")


def _run(hook: Callable[[typer.Typer], None], *arguments: str) -> str:
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


def test_plugin_cannot_replace_a_built_in_command() -> None:
    """A plugin's `plan` does not hide the built-in `plan`."""
    assert "MODEL.pb" in _run(_adds_plan, "plan", "--help")


def test_plugin_whose_commands_fail_is_reported() -> None:
    """A plugin that raises in its hook leaves the others running and is listed with its reason."""
    failures = json.loads(_run(_raises, "plugins", "--json"))["failures"]
    assert [failure["plugin"] for failure in failures] == ["mine"]
    assert "no app today" in failures[0]["reason"]
    assert "no app today" in _run(_raises, "plugins")
