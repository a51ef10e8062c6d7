"""Arguments and options that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from graphquant_core.exceptions import FileWriteError
from graphquant_core.registry import load_registry


def targets(incomplete: str) -> list[str]:
    """Names of the installed export targets that start with `incomplete`, for the shell."""
    return [name for name in load_registry().exporters if name.startswith(incomplete)]


def _prefix(text: str) -> Path:
    if os.path.basename(text) in ("", ".", ".."):
        raise FileWriteError(
            f'--save-path ("{text}") must end in the start of a file name, such as '
            f'"{os.path.join(text, "model")}"'
        )
    return Path(text)


ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="A frozen GraphDef (.pb, .pbtxt), the folder of a SavedModel, a Keras model (.keras, "
        ".h5), or the .meta file of a checkpoint.",
        show_default=False,
    ),
]
OutputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OP",
        help="Name of an output op; repeat it for several. By default what the signature says, or "
        "the ops that nothing takes.",
        show_default=False,
    ),
]
SignatureOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help='Signature of a SavedModel; by default "serving_default", or the only one.',
        show_default=False,
    ),
]
InputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="OP",
        help="Name of an op where the model begins, so that preprocessing before it is cut off; "
        "repeat it for several. By default its placeholders.",
        show_default=False,
    ),
]
InputShapesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=SIZES",
        help="Shape of an input, such as images=1,224,224,3, with ? for a size that stays open; "
        "repeatable.",
        show_default=False,
    ),
]
InputValuesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-value",
        metavar="NAME=VALUE",
        help="Value that an input always has, such as is_training=false or keep_prob=1: it is no "
        "input any more, and conditions that it decides are gone; repeatable.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SavePathOption = Annotated[
    Path,
    typer.Option(
        metavar="PREFIX",
        help="Start of the names of the files to write.",
        show_default=False,
        parser=_prefix,
    ),
]
WrittenPathOption = Annotated[
    Path,
    typer.Option(
        "--save-path",
        metavar="PREFIX",
        help="Start of the names of the exported files: what they were exported with.",
        show_default=False,
        parser=_prefix,
    ),
]
TargetOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Export target; `graphquant plugins` lists those that are installed.",
        show_default=False,
        autocompletion=targets,
    ),
]
SkipLayersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--skip-layer",
        metavar="PATTERN",
        help="Name or pattern of layers that stay float, such as 'block1/*'; repeatable.",
        show_default=False,
    ),
]
BatchSizeOption = Annotated[
    int, typer.Option(min=1, metavar="N", help="Samples that are run at once.")
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--samples",
        "--calibration",
        metavar="FILE",
        help="Samples for the model's inputs: .npz with an array for each input under its name; "
        "for a model with one input also .npy or a folder of images.",
        show_default=False,
    ),
]
SamplesOption = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="Samples to run: .npz with an array for each input under its name; for a model with "
        "one input also .npy or a folder of images.",
        show_default=False,
    ),
]
ImageRangeOption = Annotated[
    str | None,
    typer.Option(
        metavar="LOW,HIGH",
        help="What 0 and 255 of the images in a folder become, such as -1,1: what the model was "
        "trained on. By default 0,1; 0,255 for an input of integers.",
        show_default=False,
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Class of each sample: .npy of integers.", show_default=False
    ),
]
RecordOption = Annotated[
    Path,
    typer.Option(metavar="RECORD", help="File of scales and offsets.", show_default=False),
]
WrittenRecordOption = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="RECORD",
        help="File of scales and offsets; by default PREFIX_record.txt or PREFIX.json, which "
        "`quantize` and `tune` write.",
        show_default=False,
    ),
]
ExportOptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An option of the target, such as opset=17 for onnx or integer_io=true for litert; "
        "repeatable.",
        show_default=False,
    ),
]
