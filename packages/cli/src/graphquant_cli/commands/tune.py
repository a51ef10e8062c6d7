"""`graphquant tune MODEL`: the best accuracy that samples without labels give."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graphquant_cli.exit_codes import CHECK_FAILED
from graphquant_cli.exporting import (
    RECORD,
    check_inputs_are_kept,
    print_artifact,
    read_options,
    written_paths,
)
from graphquant_cli.help_text import examples
from graphquant_cli.loading import load, load_feeds
from graphquant_cli.optional_packages import need
from graphquant_cli.options import (
    ExportOptionsOption,
    ImageRangeOption,
    InputShapesOption,
    InputsOption,
    InputValuesOption,
    JsonOption,
    LabelsOption,
    ModelArgument,
    OutputsOption,
    SamplesOption,
    SavePathOption,
    SignatureOption,
    SkipLayersOption,
    TargetOption,
)
from graphquant_cli.output import print_error, print_table
from graphquant_cli.progress import stage_progress
from graphquant_cli.source_files import SUMMARY, TUNED
from graphquant_cli.tuning import (
    QUALITY_HEADER,
    check_labels,
    check_report,
    quality_rows,
    said,
    verify_tuned,
    write_page,
    write_tuned,
)

EPILOG = examples(
    "tune model.keras --samples images.npy --target litert --save-path out/model",
    "tune frozen.pb --samples images.npy --target mnn --weight-only --bits 3 --save-path out/model",
    "tune frozen.pb --samples images.npy --target mnn --weight-only --size 90kB "
    "--save-path out/model --report report.html",
    "tune model.keras --samples photos/ --image-range -1,1 --target litert --within 35dB "
    "--save-path out/model",
)


def tune(
    model: ModelArgument,
    samples: SamplesOption,
    target: TargetOption,
    save_path: SavePathOption,
    weight_only: Annotated[
        bool, typer.Option("--weight-only", help="Quantise weights alone; activations stay float.")
    ] = False,
    bits: Annotated[
        int | None,
        typer.Option(
            metavar="2..8",
            help="Bits of the weights; with --weight-only, where the default is 4.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Size of the target's file, such as 90kB, or 12% of the float graph: with "
            "--weight-only each layer gets bits by what it costs, else it is in int8 or float.",
            show_default=False,
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="QUALITY",
            help="How far outputs may be from the float model's before training, such as 30dB, or "
            "1% of the answers; layers that cost too much stay float.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(metavar="N", help="Training steps; 0 for none, which takes seconds.")
    ] = 1400,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="N", help="Time after which training ends.", show_default=False),
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Samples of a training step.")] = 64,
    seed: Annotated[int, typer.Option(metavar="N", help="The same one gives the same files.")] = 0,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Page to write, such as report.html: bits by layer and what each costs, size "
            "against quality, before and after, and the verification; its data goes beside it.",
            show_default=False,
        ),
    ] = None,
    labels: LabelsOption = None,
    image_range: ImageRangeOption = None,
    option: ExportOptionsOption = None,
    skip_layer: SkipLayersOption = None,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Quantise a trained float model so that it answers as before, from samples without labels.

    The float model teaches the quantised one. Activations and weights become int8 unless
    --weight-only is given. Besides the target's files, PREFIX.pb is the graph that they are made of
    (PREFIX_tuned.pb where the target has a file of that name), PREFIX_record.txt or PREFIX.json
    says how it is quantised, and PREFIX_tune.json what was found out. What was exported is then run
    in its runtime. Ctrl-C ends the training, and keeps what was learned; --labels are for the
    accuracy that is shown, and for nothing else.
    """
    keywords: dict[str, Any] = dict(read_options(target, option))
    beside = (".pb", TUNED, ".json" if weight_only else RECORD, SUMMARY)
    inputs = {"model": model, "samples": samples}
    check_inputs_are_kept(inputs, target, save_path, beside)
    import attrs

    from graphquant_core.files import check_writable
    from graphquant_export import load_samples

    loaded = load(model, output, signature, model_input, input_shape, input_value)
    arrays = load_feeds(samples, loaded, "samples", image_range)
    classes = None
    if labels is not None:
        classes = load_samples(labels, ["labels"], "labels")["labels"]
        check_labels(labels, classes, arrays)
    check_writable(Path(f"{save_path}{SUMMARY}"), "save_path")
    if report is not None:
        check_report(report, [*written_paths(target, save_path, beside), *inputs.values()])
    with stage_progress() as progress:
        found = need("graphquant_tune", "tune").tune(
            loaded,
            arrays,
            target,
            weight_only=weight_only,
            bits=bits,
            size=size,
            within=within,
            steps=steps,
            minutes=minutes,
            batch_size=batch_size,
            skip_layers=skip_layer or [],
            seed=seed,
            curve=report is not None,
            report=progress,
        )
    tuned = attrs.evolve(loaded, graph_def=found.graph_def)
    artifact, sources = write_tuned(tuned, found, target, save_path, keywords)
    checked = verify_tuned(artifact, arrays, classes, layers=report is not None)
    if report is not None:
        sources += write_page(report, found, checked, artifact, arrays)
    if not as_json:
        print_table(QUALITY_HEADER, quality_rows(found))
        typer.echo(said(found))
        for line in checked.lines:
            typer.echo(line)
    details = {**found.summary(), "verified": checked.ok}
    print_artifact(artifact, as_json, details, sources)
    for problem in checked.problems:
        print_error(problem)
    if checked.problems:
        raise typer.Exit(CHECK_FAILED)
