"""The command `graphquant count MODEL.pb`: how many weights each layer has."""

from __future__ import annotations

from pathlib import Path

import typer

from graphquant_core import hookimpl


def count(model: Path) -> None:
    """Print the number of weights of each layer of a frozen graph that can be quantised."""
    from graphquant_core.graph import plan_graph
    from graphquant_core.graph.frozen import import_frozen, load_graph_def

    total = 0
    for layer in plan_graph(import_frozen(load_graph_def(model, "MODEL"))).layers:
        weights = (layer.fan_in or 0) * (layer.output_channels or 0)
        total += weights
        typer.echo(f"{weights:>12,}  {layer.op_type:<24}{layer.name}")
    typer.echo(f"{total:>12,}  weights: {total * 4:,} bytes as float32, {total:,} as int8")


@hookimpl
def graphquant_commands(app: typer.Typer) -> None:
    """``count``."""
    app.command()(count)
