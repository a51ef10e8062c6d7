"""The command `graphquant`: builds the app, and prints errors without a traceback."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from graphquant_cli import __version__
from graphquant_cli.commands import add_commands
from graphquant_cli.commands.plugins import plugins_command
from graphquant_cli.exit_codes import ERROR, EXPLANATION, UNEXPECTED
from graphquant_cli.log_lines import printed_log
from graphquant_cli.output import print_error
from graphquant_cli.plugin_commands import add_plugin_commands
from graphquant_cli.tensorflow_import import prepare_import
from graphquant_core.exceptions import GraphQuantError
from graphquant_core.registry import Registry, load_registry

_DEBUG, _VERBOSE = "--debug", "--verbose"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def build_app(registry: Registry) -> typer.Typer:
    """The app with the built-in commands and those of the plugins in `registry`."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Plain help keeps the lines of examples, and starts in half the time.
        rich_markup_mode=None,
    )
    app.callback(epilog=EXPLANATION)(_options)
    add_commands(app)
    added = add_plugin_commands(app, registry, "plugins")
    app.command("plugins")(
        plugins_command(registry.owners + added.owners, registry.failures + added.failures)
    )
    return app


def main() -> None:
    """Run `graphquant`; an error becomes one line on stderr and an exit code."""
    prepare_import()
    try:
        with printed_log(_VERBOSE in sys.argv[1:]):
            build_app(load_registry())(prog_name="graphquant")
    # Whether to show the traceback, or more of the log, isn't taken from the parsed options: a
    # plugin can fail before anything is parsed.
    except GraphQuantError as error:
        if _DEBUG in sys.argv[1:]:
            raise
        print_error(str(error))
        raise SystemExit(ERROR) from None
    except Exception as error:
        if _DEBUG in sys.argv[1:]:
            raise
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            print_error(f"cannot write {error.filename or 'the output'}: {error.strerror}")
            raise SystemExit(ERROR) from None
        print_error(
            f"unexpected {type(error).__name__}: {error} (a defect of graphquant or of a plugin; "
            f"graphquant {_DEBUG} ... shows where)"
        )
        raise SystemExit(UNEXPECTED) from None


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
    verbose: Annotated[
        bool, typer.Option(_VERBOSE, help="Print what is logged, such as every layer left float.")
    ] = False,
) -> None:
    """Quantise TensorFlow graphs."""
