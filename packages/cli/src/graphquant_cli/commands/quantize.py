"""`graphquant quantize MODEL`: from a float model to a target's files, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graphquant_cli.exporting import RECORD, check_inputs_are_kept, read_options
from graphquant_cli.help_text import examples
from graphquant_cli.loading import check_image_range, load, load_feeds
from graphquant_cli.options import (
    BatchSizeOption,
    CalibrationOption,
    ExportOptionsOption,
    ImageRangeOption,
    InputShapesOption,
    InputsOption,
    InputValuesOption,
    JsonOption,
    ModelArgument,
    OutputsOption,
    SavePathOption,
    SignatureOption,
    SkipLayersOption,
    TargetOption,
)
from graphquant_cli.quantizing import quantize_all, quantize_weights
from graphquant_core.exceptions import ConfigError

ACTIVATION, BATCH_SIZE = "mse", 16
EPILOG = examples(
    "quantize model.keras --samples images.npy --target ascend --save-path out/model",
    "quantize saved_model/ --samples samples.npz --target onnx --save-path out/model "
    "--activation mse",
    "quantize frozen.pb --weight-only --bits 4 --samples images.npy --target mnn "
    "--save-path out/model",
)


def quantize(
    model: ModelArgument,
    target: TargetOption,
    save_path: SavePathOption,
    samples: CalibrationOption = None,
    image_range: ImageRangeOption = None,
    activation: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How ranges of activations are estimated: mse, ifmr, min_max or percentile; "
            "not with --weight-only.",
        ),
    ] = ACTIVATION,
    equalize: Annotated[
        bool,
        typer.Option(
            "--equalize/--no-equalize",
            help="Whether channels between layers are brought to one size where that helps.",
        ),
    ] = True,
    correct_bias: Annotated[
        bool | None,
        typer.Option(
            "--correct-bias/--no-correct-bias",
            help="Whether biases make up for what rounding does to the mean of a channel; by "
            "default unless the target's record holds layers alone, as ascend's.",
            show_default=False,
        ),
    ] = None,
    weight_only: Annotated[
        bool,
        typer.Option(
            "--weight-only",
            help="Quantise weights alone; better with samples (--samples), fine without.",
        ),
    ] = False,
    bits: Annotated[
        int, typer.Option(metavar="2..8", help="Bits of the weights; with --weight-only.")
    ] = 8,
    asymmetric: Annotated[
        bool,
        typer.Option(
            "--asymmetric/--symmetric",
            help="Whether each group has a minimum of its own; with --weight-only.",
        ),
    ] = True,
    uniform: Annotated[
        bool,
        typer.Option(
            "--uniform",
            help="Give small layers --bits, too, instead of 8 where that costs little; with "
            "--weight-only.",
        ),
    ] = False,
    layer_bits: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=BITS",
            help="Other bits for some layers, such as 'block1/*=8'; with --weight-only; "
            "repeatable.",
            show_default=False,
        ),
    ] = None,
    block_size: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Input channels that share a scale, 16 or more; 0 for all; with --weight-only.",
        ),
    ] = 0,
    option: ExportOptionsOption = None,
    skip_layer: SkipLayersOption = None,
    batch_size: BatchSizeOption = BATCH_SIZE,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Quantise a trained float model without training, and export it.

    Activations and weights become int8 with ranges from the samples; the scales are also written
    to PREFIX_record.txt. With --weight-only, weights of 2 to 8 bits alone: with samples, rounded
    by GPTQ and corrected layer by layer. The graph that has them is also written to PREFIX.pb, and
    how they are quantised to PREFIX.json, for `verify`.
    """
    _check_options(
        weight_only,
        samples,
        {
            "--bits": bits != 8,
            "--symmetric": not asymmetric,
            "--uniform": uniform,
            "--layer-bits": bool(layer_bits),
            "--block-size": block_size != 0,
        },
        {
            "--activation": activation != ACTIVATION,
            "--no-equalize": not equalize,
            "--correct-bias" if correct_bias else "--no-correct-bias": correct_bias is not None,
            "--batch-size": batch_size != BATCH_SIZE,
        },
    )
    check_image_range(image_range, samples)
    keywords: dict[str, Any] = dict(read_options(target, option))
    beside = (".pb", ".json") if weight_only else (RECORD,)
    inputs = {"model": model}
    if samples is not None:
        inputs["samples"] = samples
    check_inputs_are_kept(inputs, target, save_path, beside)

    by_layer = _layer_bits(layer_bits or [])
    loaded = load(model, output, signature, model_input, input_shape, input_value)
    skipped = skip_layer or []
    if not weight_only:
        _check_before_samples(activation, save_path)
    arrays = None
    if samples is not None:
        arrays = load_feeds(samples, loaded, "samples", image_range)
    if weight_only:
        weights = {
            "bits": bits,
            "asymmetric": asymmetric,
            "uniform": uniform,
            "layer_bits": by_layer,
            "block_size": block_size,
            "skip_layers": skipped,
        }
        quantize_weights(loaded, target, save_path, arrays, weights, keywords, as_json)
    else:
        assert arrays is not None
        options = {
            "activation": activation,
            "equalize": equalize,
            "correct_bias": correct_bias,
            "skip_layers": skipped,
            "batch_size": batch_size,
        }
        quantize_all(loaded, target, save_path, arrays, options, keywords, as_json)


def _check_before_samples(activation: str, save_path: Path) -> None:
    """Refuses what would fail after thousands of samples have been read and run."""
    from graphquant_core.files import check_writable
    from graphquant_export.post_training import range_estimator

    range_estimator(activation)
    check_writable(Path(f"{save_path}{RECORD}"), "save_path")


def _check_options(
    weight_only: bool,
    samples: Path | None,
    of_weights: dict[str, bool],
    of_activations: dict[str, bool],
) -> None:
    """Refuses options, by their names, that are given and would have no effect."""
    if not weight_only and samples is None:
        raise ConfigError(
            "--samples is missing: give some for the model's inputs, or --weight-only"
        )
    for name, given in of_weights.items():
        if given and not weight_only:
            raise ConfigError(f"{name} is for --weight-only; without it everything is int8")
    for name, given in of_activations.items():
        if given and weight_only:
            raise ConfigError(
                f"{name} is for the ranges of activations, which stay float with --weight-only"
            )


def _layer_bits(given: list[str]) -> dict[str, int]:
    found = {}
    for text in given:
        pattern, _, number = text.rpartition("=")
        if not pattern or not number.isdecimal():
            raise ConfigError(f"--layer-bits ({text}) must be PATTERN=BITS, such as 'block1/*=8'")
        found[pattern] = int(number)
    return found
