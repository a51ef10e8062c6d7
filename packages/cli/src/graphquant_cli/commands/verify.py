"""`graphquant verify MODEL`: an artifact in its runtime beside what it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphquant_cli.exit_codes import CHECK_FAILED
from graphquant_cli.factors_file import read_factors
from graphquant_cli.help_text import examples
from graphquant_cli.loading import load, load_feeds
from graphquant_cli.options import (
    BatchSizeOption,
    ImageRangeOption,
    InputShapesOption,
    InputsOption,
    InputValuesOption,
    JsonOption,
    LabelsOption,
    ModelArgument,
    OutputsOption,
    SamplesOption,
    SignatureOption,
    TargetOption,
    WrittenPathOption,
    WrittenRecordOption,
)
from graphquant_cli.output import print_error, print_json, print_table, print_warning
from graphquant_cli.source_files import find_sources
from graphquant_cli.verifying import check_exported, read_source, verify_files

if TYPE_CHECKING:
    from graphquant_export.verification import Comparison, Verification

EPILOG = examples(
    "verify model.keras --target litert --save-path out/model --samples images.npy",
    "verify model.keras --target ascend --save-path out/model --samples images.npy "
    "--labels labels.npy --layers",
    "verify frozen.pb --record record.txt --target onnx --save-path out/model --samples images.npy",
)


def verify(
    model: ModelArgument,
    target: TargetOption,
    save_path: WrittenPathOption,
    samples: SamplesOption,
    record: WrittenRecordOption = None,
    labels: LabelsOption = None,
    image_range: ImageRangeOption = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare the result of each quantised layer, too.")
    ] = False,
    agreement: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Smallest share of equal top-1 classes, near ties counted as equal."
        ),
    ] = 0.99,
    mean: Annotated[
        float, typer.Option(min=0, help="Largest mean difference of an output, in steps.")
    ] = 4.0,
    largest: Annotated[
        float,
        typer.Option(
            min=0,
            help="Largest difference of a layer's own, in steps, of all values but one in 10,000.",
        ),
    ] = 32.0,
    own_mean: Annotated[
        float, typer.Option(min=0, help="Largest mean difference of a layer's own, in steps.")
    ] = 0.5,
    sqnr: Annotated[
        float, typer.Option(help="Smallest SQNR of an output that holds no class scores, in dB.")
    ] = 25.0,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Output that holds class scores, whose top-1 counts; repeatable. By default what "
            "a softmax returns, or has labels.",
            show_default=False,
        ),
    ] = None,
    float_model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="The model before its weights were quantised, to show the quality beside it.",
            show_default=False,
        ),
    ] = None,
    batch_size: BatchSizeOption = 32,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run exported files in their real runtime, beside the simulation and the integer reference.

    MODEL is what was given to `quantize`, `tune` or `export`. Exits with 1 when an output or a
    layer differs by more than the limits. The quality beside the float model is shown where that
    is known, and judged by nobody.
    """
    from graphquant_export.inputs import load_model

    check_exported(target, save_path)
    sources = find_sources(model, record, save_path, [target])
    factors = read_factors(sources.record)
    loaded = load(model, output, signature, model_input, input_shape, input_value)
    given = None
    if float_model is not None:
        given = load_model(float_model, list(loaded.outputs), signature)
    source, unquantized = read_source(loaded, factors, sources.graph, given)
    from graphquant_export.verification import Limits

    found = verify_files(
        source,
        target,
        save_path,
        load_feeds(samples, loaded, "samples", image_range),
        labels,
        layers=layers,
        limits=Limits(agreement, mean, largest, own_mean, sqnr=sqnr),
        batch_size=batch_size,
        classes=classes,
        float_model=unquantized,
    )
    if as_json:
        print_json(found.to_dict())
    else:
        print_verification(found)
    if not found.ok():
        raise typer.Exit(CHECK_FAILED)


def print_verification(found: Verification) -> None:
    """Print tables of what was found, and in sentences what it means."""
    from graphquant_export.verification import LAYER_HEADER, SUMMARY_HEADER

    if found.layers:
        print_table(LAYER_HEADER, found.layer_rows())
    print_table(SUMMARY_HEADER, found.summary())
    for output in found.outputs:
        if output.float_model is not None:
            typer.echo(_quality(output.output, output.float_model, output.classes))
        if output.accuracy is not None:
            accuracy = output.accuracy
            frozen = "in float" if output.float_model == output.simulation else "simulated"
            typer.echo(
                f'accuracy of "{output.output}": {accuracy.simulation:.2%} {frozen}, '
                f"{accuracy.runtime:.2%} in the runtime"
            )
    for note in found.carried():
        print_warning(note)
    for problem in found.problems():
        print_error(problem)
    if found.ok():
        typer.echo(f"{found.target}: within the limits on {found.samples} samples")


def _quality(output: str, found: Comparison, classes: bool) -> str:
    """What quantisation costs this output."""
    sqnr = "no difference" if found.sqnr is None else f"an SQNR of {found.sqnr:.1f} dB"
    same = ""
    if classes and found.agreement is not None:
        same = f"the same top-1 class for {found.agreement:.2%} of {found.rows}, and "
    return f'beside the float model, "{output}" has {same}{sqnr}'
