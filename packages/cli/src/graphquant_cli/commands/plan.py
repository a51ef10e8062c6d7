"""`graphquant plan MODEL`: what would be quantised, and why the rest would not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from graphquant_cli.help_text import examples
from graphquant_cli.loading import load
from graphquant_cli.options import (
    InputShapesOption,
    InputsOption,
    InputValuesOption,
    JsonOption,
    ModelArgument,
    OutputsOption,
    SignatureOption,
)
from graphquant_cli.output import print_json, print_table
from graphquant_core.listing import choices

if TYPE_CHECKING:
    from graphquant_export.inputs.propose import Proposal

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
    input_value: InputValuesOption = None,
    weight_only: Annotated[
        bool, typer.Option("--weight-only", help="What MNN would quantise of the weights alone.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print which ops of a model can be quantised, and why the others cannot.

    Where a target would refuse the model as it is, for its preprocessing, for open shapes or
    conditions, the options that help are proposed.
    """
    loaded = load(model, output, signature, model_input, input_shape, input_value)
    from graphquant_core.graph import plan_graph
    from graphquant_core.plan import HEADER

    if weight_only:
        from graphquant_export.targets.mnn.layers import plan_for_mnn

        found = plan_for_mnn(loaded.graph())
    else:
        found = plan_graph(loaded.graph())
    from graphquant_export.inputs.propose import propose_inputs

    proposed = propose_inputs(loaded)
    ends = {"inputs": list(loaded.inputs), "outputs": list(loaded.outputs)}
    if as_json:
        shapes = {name: list(shape) for name, shape in proposed.input_shapes.items()}
        options = {
            "input": list(proposed.inputs),
            "input_shape": shapes,
            "input_value": dict(proposed.input_values),
        }
        print_json({**ends, **found.to_dict(), "proposed": options})
        return
    print_table(HEADER, found.cells())
    for name, values in ends.items():
        typer.echo(f"{name}: {choices(values)}")
    typer.echo(f"{len(found.layers)} quantised, {len(found.skips)} skipped")
    for line in _proposed(proposed):
        typer.echo(line)


def _proposed(proposal: Proposal) -> Iterator[str]:
    """The options that `proposal` means, each with its reason."""
    if proposal.decided is not None:
        options = " ".join(f"--input-value {name}=false" for name in proposal.input_values)
        name, op_type = proposal.decided
        yield f'proposed: {options}, for inference: it decides "{name}" ({op_type})'
    if proposal.before is not None:
        name, op_type = proposal.before
        options = " ".join(f"--input {each}" for each in proposal.inputs)
        yield f'proposed: {options}, since no target takes "{name}" ({op_type}) in front of it'
    for each, shape in proposal.input_shapes.items():
        reason = "since targets compile for static shapes; put in the sizes that you need"
        if proposal.opened is not None:
            reason = 'since "{}" ({}) has its exact form for static shapes alone'.format(
                *proposal.opened
            )
        sizes = str(list(shape))[1:-1].replace(" ", "")
        yield f"proposed: --input-shape {each}={sizes}, {reason}"
