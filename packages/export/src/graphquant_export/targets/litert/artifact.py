"""What an export to LiteRT wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import attrs

from graphquant_core.exporter import ExportSource
from graphquant_core.files import read_bytes
from graphquant_export.targets.litert.schema import read_model
from graphquant_export.targets.save_path import ENDINGS, paths_of


@attrs.frozen
class LiteRtArtifact:
    """One .tflite file.

    Attributes:
        model_path: The file.
        source: What it was made of.
    """

    target: ClassVar[str] = "litert"

    model_path: Path
    source: ExportSource = attrs.field(repr=False)

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
    """
    (path,) = paths_of(save_path, *ENDINGS["litert"])
    read_model(read_bytes(path, "save_path"), f"save_path ({path})")
    return LiteRtArtifact(path, source)
