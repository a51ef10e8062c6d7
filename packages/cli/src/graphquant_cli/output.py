"""What the commands write: tables, JSON, warnings and errors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from graphquant_cli.option_names import in_options

_WIDEST_LINE = 100_000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout.

    A terminal folds long cells. In a pipe or a file every row is one line, however long, so that
    grep finds the whole of it.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDEST_LINE)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def print_json(content: Any) -> None:
    """Print `json_text` of `content` to stdout."""
    typer.echo(json_text(content))


def json_text(content: Any) -> str:
    """`content` as indented JSON; NaN and infinity, which JSON lacks, as null."""
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def print_error(message: str) -> None:
    """Print ``error: message`` to stderr, the first word in red where there are colours."""
    _print_line("error:", "bold red", message)


def print_warning(message: str) -> None:
    """Print ``warning: message`` to stderr, the first word in yellow where there are colours."""
    _print_line("warning:", "bold yellow", message)


def print_note(message: str) -> None:
    """Print ``note: message`` to stderr."""
    _print_line("note:", "dim", message)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


def _print_line(start: str, style: str, message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble((start, style), " ", in_options(message))
    Console(stderr=True).print(line, soft_wrap=True)
