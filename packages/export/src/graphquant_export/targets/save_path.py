"""The files of an export, from the start of their names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from graphquant_core.exceptions import FileWriteError
from graphquant_core.files import check_writable
from graphquant_core.listing import brief_repr

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "ascend": ("_quantized.pb", "_deploy.pb"),
    "litert": (".tflite",),
    "mnn": (".mnn", ".pb", ".json"),
    "onnx": (".onnx",),
}
"""What the names of a target's files end in, by its name."""


def paths_of(save_path: str | os.PathLike[str], *endings: str) -> tuple[Path, ...]:
    """`save_path` with each of `endings`: ``<save_path>.mnn``, ``<save_path>.pb`` …

    Raises:
        FileWriteError: `save_path` is no path, or doesn't end in the start of a file name.
    """
    if not isinstance(save_path, (str, os.PathLike)):
        raise FileWriteError(f"save_path ({brief_repr(save_path)}) must be a path")
    prefix = os.fspath(save_path)
    if not prefix or prefix.endswith(("/", os.sep)):
        raise FileWriteError(f'save_path ("{prefix}") must end in the start of a file name')
    return tuple(Path(f"{prefix}{ending}") for ending in endings)


def writable_paths(save_path: str | os.PathLike[str], *endings: str) -> tuple[Path, ...]:
    """As `paths_of`, each of which can be written.

    Raises:
        FileWriteError: `save_path` names no file, or one of the files can't be written.
    """
    paths = paths_of(save_path, *endings)
    for path in paths:
        check_writable(path, "save_path")
    return paths
