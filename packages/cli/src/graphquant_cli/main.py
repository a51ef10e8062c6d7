"""The command `graphquant`: builds the app, and prints errors without a traceback."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from graphquant_cli import __version__
from graphquant_cli.commands.plan import plan
from graphquant_cli.commands.plugins import plugins_command
from graphquant_cli.output import print_error
from graphquant_cli.plugin_commands import add_plugin_commands
from graphquant_core.exceptions import GraphQuantError
from graphquant_core.registry import Registry, load_registry

_EXIT_CODE = 2
_DEBUG = "--debug"


def build_app(registry: Registry) -> typer.Typer:
    """The app with the built-in commands and those of the plugins in `registry`."""
    app = typer.Typer(
        help="Quantise TensorFlow graphs.",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    app.command("plan")(plan)
    added = add_plugin_commands(app, registry, "plugins")
    app.command("plugins")(
        plugins_command(registry.owners + added.owners, registry.failures + added.failures)
    )
    return app


def main() -> None:
    """Run `graphquant`; a `GraphQuantError` becomes one line on stderr and exit code 2."""
    try:
        build_app(load_registry())(prog_name="graphquant")
    except GraphQuantError as error:
        # Not taken from the parsed options: a plugin can fail before anything is parsed.
        if _DEBUG in sys.argv[1:]:
            raise
        print_error(str(error))
        raise SystemExit(_EXIT_CODE) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"graphquant {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Print errors with their traceback.")] = False,
) -> None:
    """Quantise TensorFlow graphs."""
