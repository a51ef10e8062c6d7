"""What an export to LiteRT wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import attrs

from graphquant_core.exceptions import FileWriteError
from graphquant_core.exporter import ExportSource
from graphquant_core.files import check_writable, read_bytes
from graphquant_export.litert.schema import read_model


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


def model_path(save_path: str | os.PathLike[str]) -> Path:
    """``<save_path>.tflite``, which can be written.

    Raises:
        FileWriteError: It can't be written, or `save_path` names no file.
    """
    path = _model_path(save_path)
    check_writable(path, "save_path")
    return path


def open_litert(save_path: str | os.PathLike[str], source: ExportSource) -> LiteRtArtifact:
    """The artifact that was exported to `save_path`.

    Args:
        save_path: What the export was given.
        source: What it was made of.

    Raises:
        ModelFileError: The file is missing or is no .tflite file; names it.
    """
    path = _model_path(save_path)
    read_model(read_bytes(path, "save_path"), f"save_path ({path})")
    return LiteRtArtifact(path, source)


def _model_path(save_path: str | os.PathLike[str]) -> Path:
    if not isinstance(save_path, (str, os.PathLike)):
        raise FileWriteError(f"save_path ({save_path!r}) must be a path")
    prefix = os.fspath(save_path)
    if not prefix or prefix.endswith(("/", os.sep)):
        raise FileWriteError(f'save_path ("{prefix}") must end in the start of a file name')
    return Path(f"{prefix}.tflite")
