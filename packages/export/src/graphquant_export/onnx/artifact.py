"""The file of an ONNX export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import attrs

from graphquant_core.exceptions import FileWriteError
from graphquant_core.exporter import ExportSource
from graphquant_core.files import check_writable


@attrs.frozen
class OnnxArtifact:
    """What an export to ONNX wrote.

    Attributes:
        model_path: The model.
        opset: Opset of its ops.
        source: What it was made of.
    """

    target: ClassVar[str] = "onnx"

    model_path: Path
    opset: int
    source: ExportSource

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.model_path,)


def path_of(save_path: str | os.PathLike[str]) -> Path:
    """``<save_path>.onnx``."""
    return Path(f"{os.fspath(save_path)}.onnx")


def writable_path(save_path: str | os.PathLike[str]) -> Path:
    """``<save_path>.onnx``, which can be written.

    Raises:
        FileWriteError: It can't be written, or `save_path` names no file.
    """
    if not isinstance(save_path, (str, os.PathLike)):
        raise FileWriteError(f"save_path ({save_path!r}) must be a path")
    stem = os.fspath(save_path)
    if not stem or stem.endswith(("/", os.sep)):
        raise FileWriteError(f'save_path ("{stem}") must end in the start of a file name')
    check_writable(path_of(stem), "save_path")
    return path_of(stem)
