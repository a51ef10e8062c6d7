"""`graphquant report MODEL`: verifications of one or more targets as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    WrittenPathOption,
    WrittenRecordOption,
    targets,
)
from graphquant_cli.output import print_json, print_warning
from graphquant_cli.source_files import find_sources
from graphquant_cli.verifying import check_exported, read_source, verify_files

EPILOG = examples(
    "report frozen.pb --record record.txt --target onnx --target litert --save-path out/model "
    "--samples images.npy --page report.html"
)


def report(
    model: ModelArgument,
    target: Annotated[
        list[str],
        typer.Option(
            metavar="NAME", help="Target that was exported; repeatable.", autocompletion=targets
        ),
    ],
    save_path: WrittenPathOption,
    samples: SamplesOption,
    record: WrittenRecordOption = None,
    page: Annotated[Path, typer.Option(metavar="FILE", help="Page to write.")] = Path(
        "report.html"
    ),
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Quantisation report",
    labels: LabelsOption = None,
    image_range: ImageRangeOption = None,
    batch_size: BatchSizeOption = 32,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a page about exported files: layers, ranges, errors and accuracy of each target.

    The page opens from the disk; its data is written beside it as JSON. Exits with 1 when a
    target is beyond the limits of `graphquant verify`.
    """
    for name in target:
        check_exported(name, save_path)
    sources = find_sources(model, record, save_path, target)
    factors = read_factors(sources.record)
    loaded = load(model, output, signature, model_input, input_shape, input_value)
    source, unquantized = read_source(loaded, factors, sources.graph)
    from graphquant_export.report import write_report
    from graphquant_export.verification import Limits

    feeds = load_feeds(samples, loaded, "samples", image_range)
    found = [
        verify_files(
            source, name, save_path, feeds, labels,
            layers=True, limits=Limits(), batch_size=batch_size,
            float_model=unquantized,
        )
        for name in target
    ]  # fmt: skip
    paths = write_report(page, found, source, feeds, title=title, batch_size=batch_size)
    problems = {one.target: list(one.problems()) for one in found}
    if as_json:
        print_json({"paths": [str(path) for path in paths], "problems": problems})
    else:
        for path in paths:
            typer.echo(f"wrote {path}")
        for name, sentences in problems.items():
            for sentence in sentences:
                print_warning(f"{name}: {sentence}")
    if not all(one.ok() for one in found):
        raise typer.Exit(CHECK_FAILED)
