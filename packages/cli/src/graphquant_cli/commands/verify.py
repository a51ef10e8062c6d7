"""`graphquant verify MODEL`: an artifact in its runtime beside what it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from graphquant_cli.exit_codes import CHECK_FAILED
from graphquant_cli.factors_file import read_factors
from graphquant_cli.help_text import examples
from graphquant_cli.loading import load
from graphquant_cli.options import (
    BatchSizeOption,
    InputShapesOption,
    InputsOption,
    JsonOption,
    LabelsOption,
    ModelArgument,
    OutputsOption,
    RecordOption,
    SamplesOption,
    SavePathOption,
    SignatureOption,
    TargetOption,
)
from graphquant_cli.output import print_error, print_json, print_table
from graphquant_cli.verifying import verify_files

if TYPE_CHECKING:
    from graphquant_export.verification import Verification

EPILOG = examples(
    "verify frozen.pb --record record.txt --target onnx --save-path out/model "
    "--samples images.npy --labels labels.npy",
    "verify model.keras --record out/model_record.txt --target ascend --save-path out/model "
    "--samples images.npy --layers",
    "verify out/model.pb --record out/model.json --target mnn --save-path out/model "
    "--samples images.npy",
)


def verify(
    model: ModelArgument,
    record: RecordOption,
    target: TargetOption,
    save_path: SavePathOption,
    samples: SamplesOption,
    labels: LabelsOption = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare the result of each quantised layer, too.")
    ] = False,
    agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Smallest share of equal top-1 classes.")
    ] = 0.99,
    mean: Annotated[
        float, typer.Option(min=0, help="Largest mean difference of an output, in steps.")
    ] = 4.0,
    largest: Annotated[
        float, typer.Option(min=0, help="Largest difference of a layer's own, in steps.")
    ] = 32.0,
    own_mean: Annotated[
        float, typer.Option(min=0, help="Largest mean difference of a layer's own, in steps.")
    ] = 0.5,
    batch_size: BatchSizeOption = 32,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run exported files in their real runtime, beside the simulation and the integer reference.

    Exits with 1 when an output or a layer differs by more than the limits. For weights alone, the
    model and the record are the .pb and the .json that were written with the files.
    """
    from graphquant_core.registry import load_registry
    from graphquant_export.inputs import load_samples

    load_registry().exporter(target)
    factors = read_factors(record)
    loaded = load(model, output, signature, model_input, input_shape)
    from graphquant_core.exporter import ExportSource
    from graphquant_export.verification import Limits

    found = verify_files(
        ExportSource(loaded.graph_def, loaded.outputs, factors),
        target,
        save_path,
        load_samples(samples, loaded.inputs, "samples"),
        labels,
        layers=layers,
        limits=Limits(agreement, mean, largest, own_mean),
        batch_size=batch_size,
    )
    if as_json:
        print_json(found.to_dict())
    else:
        _print_verification(found)
    if not found.ok():
        raise typer.Exit(CHECK_FAILED)


def _print_verification(found: Verification) -> None:
    from graphquant_export.verification import LAYER_HEADER, SUMMARY_HEADER

    if found.layers:
        print_table(LAYER_HEADER, found.layer_rows())
    print_table(SUMMARY_HEADER, found.summary())
    for output in found.outputs:
        if output.accuracy is not None:
            accuracy = output.accuracy
            typer.echo(
                f'accuracy of "{output.output}": {accuracy.simulation:.2%} simulated, '
                f"{accuracy.runtime:.2%} in the runtime"
            )
    for problem in found.problems():
        print_error(problem)
    if found.ok():
        typer.echo(f"{found.target}: within the limits on {found.samples} samples")
