"""`graphquant export MODEL`: the files for a target, from a frozen graph and its record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from graphquant_cli.exporting import (
    RECORD,
    check_inputs_are_kept,
    print_artifact,
    read_options,
)
from graphquant_cli.factors_file import read_factors
from graphquant_cli.help_text import examples
from graphquant_cli.loading import check_image_range, load, load_feeds
from graphquant_cli.options import (
    CalibrationOption,
    ExportOptionsOption,
    ImageRangeOption,
    InputShapesOption,
    InputsOption,
    InputValuesOption,
    JsonOption,
    ModelArgument,
    OutputsOption,
    RecordOption,
    SavePathOption,
    SignatureOption,
    TargetOption,
)
from graphquant_core.exceptions import ConfigError

if TYPE_CHECKING:
    from graphquant_core.record import Record

EPILOG = examples(
    "export frozen.pb --record record.txt --target ascend --save-path out/model",
    "export frozen.pb --record record.txt --target onnx --save-path out/model "
    "--samples samples.npz",
)


def export(
    model: ModelArgument,
    record: RecordOption,
    target: TargetOption,
    save_path: SavePathOption,
    samples: CalibrationOption = None,
    image_range: ImageRangeOption = None,
    option: ExportOptionsOption = None,
    output: OutputsOption = None,
    signature: SignatureOption = None,
    model_input: InputsOption = None,
    input_shape: InputShapesOption = None,
    input_value: InputValuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export a model and its record to a target.

    The model is the frozen graph that was trained, with its fake quantisers, or a float one. The
    samples give the ranges that the record doesn't hold, for targets that want them; with them, the
    record is also written to PREFIX_record.txt. For weights
    alone, the model and the record are a .pb with its weights on their grids and the .json or .bin
    that says which.
    """
    inputs = {"model": model, "record": record}
    if samples is not None:
        inputs["samples"] = samples
    check_inputs_are_kept(inputs, target, save_path, (RECORD,) if samples else ())
    check_image_range(image_range, samples)
    options: dict[str, Any] = dict(read_options(target, option))
    factors = read_factors(record)
    if samples is not None and isinstance(factors, tuple):
        raise ConfigError(
            f"--samples ({samples}) gives ranges of activations, and --record ({record}) "
            "says how weights alone are quantised: leave it out"
        )
    from graphquant_export import export as export_files
    from graphquant_export import write_record

    loaded = load(model, output, signature, model_input, input_shape, input_value)
    arrays: dict[str, Any] | None = None
    if samples is not None:
        arrays = load_feeds(samples, loaded, "samples", image_range)
    artifact = export_files(loaded, factors, target, save_path, samples=arrays, **options)
    completed = artifact.source.record
    if arrays is None or completed == factors:
        print_artifact(artifact, as_json)
        return
    # With the ranges that the samples gave, so that `verify` knows them, too.
    path = Path(f"{save_path}{RECORD}")
    write_record(path, cast("Record", completed))
    print_artifact(artifact, as_json, {"record": str(path)}, (path,))
