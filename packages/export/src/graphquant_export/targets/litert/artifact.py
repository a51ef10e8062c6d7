"""What an export to LiteRT wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import attrs

from graphquant_core.exporter import ExportSource
from graphquant_core.files import read_bytes
from graphquant_core.record import Record
from graphquant_core.target_rules import TargetRules
from graphquant_export.quantized.simulate import simulation_of, source_of
from graphquant_export.targets.litert.file import LiteRtFile
from graphquant_export.targets.litert.target import simulate_litert
from graphquant_export.targets.rules import LITERT
from graphquant_export.targets.save_path import ENDINGS, paths_of


@attrs.frozen
class LiteRtArtifact:
    """One .tflite file.

    Attributes:
        model_path: The file.
        source: What it was made of, with the grids that the file has.
        rules: What LiteRT rounds in it: more, where its outputs are integers.
    """

    target: ClassVar[str] = "litert"

    model_path: Path
    source: ExportSource = attrs.field(repr=False)
    rules: TargetRules = attrs.field(default=LITERT, repr=False)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.model_path,)


def open_litert(save_path: str | os.PathLike[str], source: ExportSource) -> LiteRtArtifact:
    """The artifact that was exported to `save_path`.

    Args:
        save_path: What the export was given.
        source: What it was made of.

    Raises:
        ModelFileError: The file is missing or is no .tflite file; names it.
        OutputNotFoundError, RecordError, BiasOverflowError: as `export_litert`.
    """
    (path,) = paths_of(save_path, *ENDINGS["litert"])
    file = LiteRtFile(read_bytes(path, "save_path"), f"save_path ({path})")
    if not isinstance(source.record, Record):
        return LiteRtArtifact(path, source)
    integer_io = "int8" in map(file.dtype, file.outputs.values())
    simulated = simulation_of(source)
    target = simulate_litert(simulated, source.record, integer_io=integer_io)
    return LiteRtArtifact(path, source_of(simulated, source.model, target.record), target.rules)
