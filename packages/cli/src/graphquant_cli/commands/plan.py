"""`graphquant plan MODEL`: what would be quantised, and why the rest would not."""

from __future__ import annotations

from typing import Annotated

import typer

from graphquant_cli.help_text import examples
from graphquant_cli.loading import load
from graphquant_cli.options import (
    InputShapesOption,
    InputsOption,
    JsonOption,
    ModelArgument,
    OutputsOption,
    SignatureOption,
)
from graphquant_cli.output import print_json, print_table
from graphquant_core.listing import choices

EPILOG = examples(
    "plan frozen.pb",
    "plan saved_model/ --signature serving_default",
    "plan model.keras --json",
    "plan frozen.pb --weight-only",
    "plan frozen.pb --input standardized --input-shape standardized=1,224,224,3",
    "plan train/model.ckpt-1000.meta --output probabilities",
)


def plan(
    model: ModelArgument,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    weight_only: Annotated[
        bool, typer.Option("--weight-only", help="What MNN would quantise of the weights alone.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print which ops of a model can be quantised, and why the others cannot."""
    loaded = load(model, output, signature, model_input, input_shape)
    from graphquant_core.graph import plan_graph
    from graphquant_core.plan import HEADER

    if weight_only:
        from graphquant_export.targets.mnn.layers import plan_for_mnn

        found = plan_for_mnn(loaded.graph())
    else:
        found = plan_graph(loaded.graph())
    ends = {"inputs": list(loaded.inputs), "outputs": list(loaded.outputs)}
    if as_json:
        print_json({**ends, **found.to_dict()})
        return
    print_table(HEADER, found.cells())
    for name, values in ends.items():
        typer.echo(f"{name}: {choices(values)}")
    typer.echo(f"{len(found.layers)} quantised, {len(found.skips)} skipped")
