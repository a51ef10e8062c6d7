"""`graphquant record`: show, check and compare records of scales and offsets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphquant_cli.exit_codes import CHECK_FAILED
from graphquant_cli.help_text import examples
from graphquant_cli.loading import load
from graphquant_cli.options import (
    InputShapesOption,
    InputsOption,
    InputValuesOption,
    JsonOption,
    OutputsOption,
    SignatureOption,
)
from graphquant_cli.output import print_error, print_json, print_table
from graphquant_core.listing import listed

app = typer.Typer(
    help="Show, check and compare records of scales and offsets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RecordArgument = Annotated[
    Path,
    typer.Argument(metavar="RECORD", help="File of scales and offsets.", show_default=False),
]


@app.command(epilog=examples("record show record.txt", "record show record.txt --json"))
def show(record: RecordArgument, as_json: JsonOption = False) -> None:
    """Print scale, offset and range of each layer's activation, and the scales of its weight."""
    from graphquant_core.record import read_record
    from graphquant_core.record.summary import SUMMARY_HEADER, summarize_record

    rows = summarize_record(read_record(record))
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    print_table(SUMMARY_HEADER, (row.cells() for row in rows))
    typer.echo(f"{len(rows)} layers")


@app.command(epilog=examples("record check record.txt frozen.pb"))
def check(
    record: RecordArgument,
    model: Annotated[Path, typer.Argument(metavar="MODEL", show_default=False)],
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a record belongs to a model: each entry to a layer, with values that fit it.

    Exits with 1 when it does not.
    """
    from graphquant_core.exceptions import RecordError
    from graphquant_core.record import read_record, validate_record

    factors = read_record(record)
    loaded = load(model, output, signature, model_input, input_shape, input_value)
    from graphquant_core.graph import plan_graph

    plan = plan_graph(loaded.graph())
    problem = None
    try:
        validate_record(factors, plan)
    except RecordError as error:
        problem = str(error)
    missing = [layer.name for layer in plan.layers if layer.name not in factors]
    if as_json:
        print_json({"ok": problem is None, "problem": problem, "layers_without_entry": missing})
    elif problem is not None:
        print_error(problem)
    else:
        typer.echo(f"all {len(factors)} entries fit the model")
        if missing:
            typer.echo(f"without an entry, hence float: {listed(missing)}")
    if problem is not None:
        raise typer.Exit(CHECK_FAILED)


@app.command(
    epilog=examples("record diff before.txt after.txt", "record diff a.txt b.txt --tolerance 0.05")
)
def diff(
    first: Annotated[Path, typer.Argument(metavar="FIRST", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="SECOND", show_default=False)],
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, help="Largest relative difference of a scale that counts as none."),
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Print where two records differ: ratios of scales, differences of offsets, layers of one.

    Exits with 1 when they differ.
    """
    from graphquant_core.record import read_record
    from graphquant_core.record.compare import COMPARISON_HEADER, compare_records

    rows = compare_records(read_record(first), read_record(second), tolerance)
    differing = [row for row in rows if row.differs]
    if as_json:
        print_json({"same": not differing, "layers": [row.to_dict() for row in rows]})
    else:
        if differing:
            print_table(COMPARISON_HEADER, (row.cells() for row in differing))
        typer.echo(f"{len(differing)} of {len(rows)} layers differ")
    if differing:
        raise typer.Exit(CHECK_FAILED)
