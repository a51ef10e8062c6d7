"""Rows of plain data as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
_NO_LIMIT = 1_000
"""Columns of a file: a line may be as long as a row needs."""


def print_table(title: str, formats: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Print `rows`; `formats` says which of their keys, in which order, and how each is written."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, key in enumerate(formats):
        table.add_column(key.replace("_", " "), justify="right" if number else "left")
    for row in rows:
        cells = (format_.format(row[key]) for key, format_ in formats.items())
        table.add_row(*cells)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_NO_LIMIT)
    console.print(table)
