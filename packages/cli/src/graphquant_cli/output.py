"""What the commands write: tables and errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


def print_error(message: str) -> None:
    """Print ``error: message`` to stderr, the first word in red where there are colours."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(("error:", "bold red"), " ", message)
    Console(stderr=True).print(line, soft_wrap=True)
