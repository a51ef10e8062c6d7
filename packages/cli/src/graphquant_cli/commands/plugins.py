"""`graphquant plugins`: who owns what, and which plugins failed to load."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated

import attrs
import typer

from graphquant_cli.output import print_table
from graphquant_core.contributions import Registration
from graphquant_core.plugin_loader import PluginFailure


def plugins_command(
    owners: Sequence[Registration], failures: Sequence[PluginFailure]
) -> Callable[..., None]:
    """The command `plugins`, which prints `owners` and `failures`."""

    def plugins(
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Print who owns which handler, quantiser, exporter or command, and what failed to load."""
        if as_json:
            typer.echo(_to_json(owners, failures))
        else:
            _print_tables(owners, failures)

    return plugins


def _to_json(owners: Sequence[Registration], failures: Sequence[PluginFailure]) -> str:
    content = {
        "owners": [attrs.asdict(owner) for owner in owners],
        "failures": [attrs.asdict(failure) for failure in failures],
    }
    return json.dumps(content, indent=2)


def _print_tables(owners: Sequence[Registration], failures: Sequence[PluginFailure]) -> None:
    print_table(
        ("kind", "name", "plugin", "distribution"),
        ((row.kind, row.name, row.plugin, f"{row.distribution} {row.version}") for row in owners),
    )
    if failures:
        print_table(
            ("failed to load", "distribution", "reason"),
            ((row.plugin, f"{row.distribution} {row.version}", row.reason) for row in failures),
        )
