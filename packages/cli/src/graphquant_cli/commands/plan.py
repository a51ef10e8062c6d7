"""`graphquant plan MODEL.pb`: what would be quantised, and why the rest would not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphquant_cli.output import print_table
from graphquant_core.plan import HEADER, Plan


def plan(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.pb", help="A frozen GraphDef.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print which ops of a frozen graph can be quantised, and why the others cannot."""
    from graphquant_cli.frozen_graph import load_frozen_graph

    graph = load_frozen_graph(model)
    from graphquant_core.graph import plan_graph

    result = plan_graph(graph)
    if as_json:
        typer.echo(result.to_json())
    else:
        _print_plan(result)


def _print_plan(result: Plan) -> None:
    print_table(HEADER, result.cells())
    typer.echo(f"{len(result.layers)} quantised, {len(result.skips)} skipped")
