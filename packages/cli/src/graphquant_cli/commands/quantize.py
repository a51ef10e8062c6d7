"""`graphquant quantize MODEL`: from a float model to a target's files, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from graphquant_cli.exporting import (
    RECORD,
    check_inputs_are_kept,
    print_artifact,
    read_options,
    write_weight_sources,
)
from graphquant_cli.help_text import examples
from graphquant_cli.loading import check_image_range, load, load_feeds
from graphquant_cli.optional_packages import need
from graphquant_cli.options import (
    BatchSizeOption,
    CalibrationOption,
    ExportOptionsOption,
    ImageRangeOption,
    InputShapesOption,
    InputsOption,
    JsonOption,
    ModelArgument,
    OutputsOption,
    SavePathOption,
    SignatureOption,
    SkipLayersOption,
    TargetOption,
)
from graphquant_cli.progress import progress_bar
from graphquant_core.exceptions import ConfigError

if TYPE_CHECKING:
    from graphquant_core.plan import Plan
    from graphquant_core.record import Record
    from graphquant_export.inputs import LoadedModel

ACTIVATION, BATCH_SIZE = "mse", 16
EPILOG = examples(
    "quantize model.keras --calibration images.npy --target ascend --save-path out/model",
    "quantize saved_model/ --calibration samples.npz --target onnx --save-path out/model "
    "--activation mse",
    "quantize frozen.pb --weight-only --bits 4 --calibration images.npy --target mnn "
    "--save-path out/model",
)


def quantize(
    model: ModelArgument,
    target: TargetOption,
    save_path: SavePathOption,
    calibration: CalibrationOption = None,
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
        bool,
        typer.Option(
            "--correct-bias/--no-correct-bias",
            help="Whether biases make up for what rounding does to the mean of a channel.",
        ),
    ] = True,
    weight_only: Annotated[
        bool,
        typer.Option(
            "--weight-only",
            help="Quantise weights alone; better with samples (--calibration), fine without.",
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
        calibration,
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
            "--no-correct-bias": not correct_bias,
            "--batch-size": batch_size != BATCH_SIZE,
        },
    )
    check_image_range(image_range, calibration)
    keywords: dict[str, Any] = dict(read_options(target, option))
    beside = (".pb", ".json") if weight_only else (RECORD,)
    inputs = {"model": model}
    if calibration is not None:
        inputs["calibration samples"] = calibration
    check_inputs_are_kept(inputs, target, save_path, beside)

    by_layer = _layer_bits(layer_bits or [])
    loaded = load(model, output, signature, model_input, input_shape)
    skipped = skip_layer or []
    if not weight_only:
        _check_before_samples(activation, save_path)
    samples = None
    if calibration is not None:
        samples = load_feeds(calibration, loaded, "calibration", image_range)
    if weight_only:
        weights = {
            "bits": bits,
            "asymmetric": asymmetric,
            "uniform": uniform,
            "layer_bits": by_layer,
            "block_size": block_size,
            "skip_layers": skipped,
        }
        _quantize_weights(loaded, target, save_path, samples, weights, keywords, as_json)
    else:
        assert samples is not None
        options = {
            "activation": activation,
            "equalize": equalize,
            "correct_bias": correct_bias,
            "skip_layers": skipped,
            "batch_size": batch_size,
        }
        _quantize_all(loaded, target, save_path, samples, options, keywords, as_json)


def _check_before_samples(activation: str, save_path: Path) -> None:
    """Refuses what would fail after thousands of samples have been read and run."""
    from graphquant_core.files import check_writable
    from graphquant_export.post_training import range_estimator

    range_estimator(activation)
    check_writable(Path(f"{save_path}{RECORD}"), "save_path")


def _quantize_all(
    model: LoadedModel,
    target: str,
    save_path: Path,
    samples: dict[str, Any],
    options: dict[str, Any],
    keywords: dict[str, Any],
    as_json: bool,
) -> None:
    from graphquant_export import export, write_record
    from graphquant_export import quantize as find_record

    record_path = Path(f"{save_path}{RECORD}")
    with progress_bar("calibrating") as progress:
        record = find_record(model, samples, target, progress=progress, **options)
    artifact = export(model, record, target, save_path, samples=samples, **keywords)
    write_record(record_path, cast("Record", artifact.source.record))
    if not as_json:
        typer.echo(f"{len(record)} layers are quantised; wrote {record_path}")
    print_artifact(artifact, as_json, {"record": str(record_path), "layers": list(record)})


def _quantize_weights(
    model: LoadedModel,
    target: str,
    save_path: Path,
    samples: dict[str, Any] | None,
    options: dict[str, Any],
    keywords: dict[str, Any],
    as_json: bool,
) -> None:
    import attrs

    from graphquant_export import export

    wq = need("graphquant_wq", "quantize --weight-only")
    with progress_bar("rounding") as progress:
        found = wq.quantize_frozen_weights(
            model.graph_def, model.outputs, samples=samples, progress=progress, **options
        )
    on_grid = attrs.evolve(model, graph_def=found.graph_def)
    artifact = export(on_grid, found.params, target, save_path, **keywords)
    if not as_json:
        ops = "op is" if len(found.params) == 1 else "ops are"
        typer.echo(f"the weights of {len(found.params)} {ops} quantised{_float_rest(found.plan)}")
        for line in _described(found, samples is not None):
            typer.echo(line)
    sources = write_weight_sources(found.graph_def, found.params, save_path, artifact.paths)
    layers = [attrs.asdict(layer) for layer in found.params]
    rounded = [attrs.asdict(layer) for layer in found.rounded]
    skips = [{"name": skip.name, "reason": skip.reason} for skip in found.plan.skips]
    print_artifact(
        artifact, as_json, {"layers": layers, "skips": skips, "rounded": rounded}, sources
    )


def _described(found: Any, sampled: bool) -> list[str]:
    """What of the result the options don't say."""
    plain = [layer for layer in found.rounded if layer.method == "nearest"] if sampled else []
    lines = []
    if found.kept_wide:
        layers = "layer has" if len(found.kept_wide) == 1 else "layers have"
        count, first = len(found.kept_wide), found.kept_wide[0]
        lines.append(f'{count} small {layers} 8 bits, such as "{first}"')
    if plain:
        more = f" (and {len(plain) - 1} more)" if len(plain) > 1 else ""
        lines.append(f'"{plain[0].name}"{more} is rounded to the nearest: {plain[0].reason}')
    return lines


def _float_rest(plan: Plan) -> str:
    if not plan.skips:
        return ""
    first = plan.skips[0]
    stay = "stays" if len(plan.skips) == 1 else "stay"
    return f'; {len(plan.skips)} {stay} float, such as "{first.name}": {first.reason}'


def _check_options(
    weight_only: bool,
    calibration: Path | None,
    of_weights: dict[str, bool],
    of_activations: dict[str, bool],
) -> None:
    """Refuses options, by their names, that are given and would have no effect."""
    if not weight_only and calibration is None:
        raise ConfigError(
            "--calibration is missing: give samples for the model's inputs, or --weight-only"
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
