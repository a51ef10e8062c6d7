"""`graphquant sensitivity MODEL`: what each layer costs at each width."""

from __future__ import annotations

import typer

from graphquant_cli.help_text import examples
from graphquant_cli.loading import load, load_feeds
from graphquant_cli.option_names import in_options
from graphquant_cli.optional_packages import need
from graphquant_cli.options import (
    ImageRangeOption,
    InputShapesOption,
    InputsOption,
    InputValuesOption,
    JsonOption,
    ModelArgument,
    OutputsOption,
    SamplesOption,
    SignatureOption,
    SkipLayersOption,
)
from graphquant_cli.output import print_json, print_table
from graphquant_cli.progress import stage_progress

EPILOG = examples("sensitivity frozen.pb --samples images.npy")


def sensitivity(
    model: ModelArgument,
    samples: SamplesOption,
    image_range: ImageRangeOption = None,
    skip_layer: SkipLayersOption = None,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how far the outputs move when one layer has few bits and all others are float.

    The samples need no labels; the first 1,024 are run. The numbers are the divergence of class
    scores, or the relative squared error of other outputs: 0 is no change.
    """
    loaded = load(model, output, signature, model_input, input_shape, input_value)
    arrays = load_feeds(samples, loaded, "samples", image_range)
    with stage_progress() as report:
        found = need("graphquant_tune", "sensitivity").sensitivity(
            loaded, arrays, skip_layers=skip_layer or [], report=report
        )
    if as_json:
        rows = [
            {
                "name": layer.name,
                "type": layer.op_type,
                "weights": layer.weights,
                "distance": {str(bits): value for bits, value in layer.distances.items()},
            }
            for layer in found.layers
        ]
        skips = [{"name": skip.name, "reason": skip.reason} for skip in found.plan.skips]
        print_json({"layers": rows, "skips": skips})
        return
    widths = list(found.layers[0].distances)
    print_table(
        ("layer", "type", "weights", *(f"{bits} bits" for bits in widths)),
        [
            (
                layer.name,
                layer.op_type,
                f"{layer.weights:,}",
                *(f"{layer.distances[bits]:.2g}" for bits in widths),
            )
            for layer in found.layers
        ],
    )
    for skip in found.plan.skips:
        typer.echo(f'"{skip.name}" ({skip.op_type}) stays float: {in_options(skip.reason)}')
