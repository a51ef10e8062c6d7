"""`graphquant config`: write, check and explain configurations of quantisation-aware training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphquant_cli.exit_codes import CHECK_FAILED
from graphquant_cli.help_text import examples
from graphquant_cli.loading import load
from graphquant_cli.optional_packages import need
from graphquant_cli.options import (
    InputShapesOption,
    InputsOption,
    InputValuesOption,
    JsonOption,
    ModelArgument,
    OutputsOption,
    SignatureOption,
)
from graphquant_cli.output import print_error, print_json, print_table

app = typer.Typer(
    help="Write, check and explain configurations of quantisation-aware training: the JSON that "
    "create_quant_retrain_config writes, and the short text form (.cfg). Needs graphquant-qat.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigArgument = Annotated[
    Path,
    typer.Argument(metavar="CONFIG", help="JSON, or the short text form.", show_default=False),
]


@app.command(
    epilog=examples(
        "config write frozen.pb config.json",
        "config write model.ckpt.meta config.json --definition short.cfg",
    )
)
def write(
    model: ModelArgument,
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="JSON file to write.", show_default=False)
    ],
    definition: Annotated[
        Path | None,
        typer.Option(help="What differs from the default, in the short text form."),
    ] = None,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
) -> None:
    """Write the configuration of a model as JSON: every layer that can be quantised is."""
    qat = need("graphquant_qat", "config")
    graph = load(model, output, signature, model_input, input_shape, input_value).graph()
    qat.create_quant_retrain_config(str(config), graph, definition and str(definition))
    typer.echo(f"wrote {config}")


@app.command(epilog=examples("config check config.json frozen.pb", "config check short.cfg sm/"))
def check(
    config: ConfigArgument,
    model: ModelArgument,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a configuration is well-formed and fits a model.

    Exits with 1 when it does not.
    """
    from graphquant_core.exceptions import ConfigError, NoLayersError, UnknownNameError

    need("graphquant_qat", "config")
    graph = load(model, output, signature, model_input, input_shape, input_value).graph()
    reader = need("graphquant_qat.read_config", "config")
    problem, enabled, layers = None, 0, 0
    try:
        found, plan = reader.read_any_config(config, graph)
        enabled, layers = len(found.enabled), len(plan.layers)
    except (ConfigError, NoLayersError, UnknownNameError) as error:
        problem = str(error)
    if as_json:
        print_json({"ok": problem is None, "problem": problem, "quantised_layers": enabled})
    elif problem is not None:
        print_error(problem)
    else:
        typer.echo(f"fits the model: {enabled} of {layers} layers are quantised")
    if problem is not None:
        raise typer.Exit(CHECK_FAILED)


@app.command(epilog=examples("config explain short.cfg frozen.pb"))
def explain(
    config: ConfigArgument,
    model: ModelArgument,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a configuration makes of each layer of a model, and why some stay float."""
    explaining = need("graphquant_qat.config.explain", "config")
    graph = load(model, output, signature, model_input, input_shape, input_value).graph()
    reader = need("graphquant_qat.read_config", "config")
    found, plan = reader.read_any_config(config, graph)
    rows = explaining.explain_config(found, plan)
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    print_table(explaining.EXPLANATION_HEADER, (row.cells() for row in rows))
    typer.echo(f"{len(found.enabled)} of {len(plan.rows)} quantised")
