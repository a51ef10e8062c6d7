"""Which kind of model stands at a path, found out without TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from graphquant_core.exceptions import ModelFileError
from graphquant_core.listing import brief_repr

GRAPH_DEF, SAVED_MODEL, KERAS, CHECKPOINT = "GraphDef", "SavedModel", "Keras model", "checkpoint"

_ACCEPTED = (
    "a frozen GraphDef (.pb, .pbtxt), the folder of a SavedModel, a Keras model (.keras, .h5) or "
    "the .meta file of a checkpoint"
)
_KERAS_ENDINGS = (".keras", ".h5", ".hdf5")
_OTHER_FORMATS = {
    ".mnn": "MNN's",
    ".om": "Ascend's",
    ".onnx": "ONNX's",
    ".pt": "PyTorch's",
    ".pth": "PyTorch's",
    ".tflite": "LiteRT's",
}
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_CHECKPOINT_ENDINGS = (".meta", ".index", ".data-00000-of-00001")


@attrs.frozen
class ModelPath:
    """A model on the disk.

    Attributes:
        kind: `GRAPH_DEF`, `SAVED_MODEL`, `KERAS` or `CHECKPOINT`.
        path: Its file or folder; of a checkpoint, what its files' names start with.
        argument: What error messages call it, with its path.
    """

    kind: str
    path: Path
    argument: str


def find_model(path: str | os.PathLike[str], name: str = "model") -> ModelPath:
    """The model at `path`.

    Args:
        path: File or folder.
        name: What error messages call the argument.

    Raises:
        ModelFileError: Nothing stands there, or it is no model; says what is accepted.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ModelFileError(f"{name} ({brief_repr(path)}) must be the path of {_ACCEPTED}")
    place = Path(path)
    argument = f"{name} ({place})"
    if place.is_dir():
        return _in_folder(place, argument)
    for ending in _CHECKPOINT_ENDINGS:
        if place.name.endswith(ending):
            return _checkpoint(Path(str(place).removesuffix(ending)), argument)
    if not place.exists():
        if Path(f"{place}.index").exists():
            return _checkpoint(place, argument)
        raise ModelFileError(f"{argument} cannot be read: No such file or directory")
    if place.name in _SAVED_MODEL_FILES and (place.parent / "variables").is_dir():
        return ModelPath(SAVED_MODEL, place.parent, argument)
    if place.suffix in _KERAS_ENDINGS:
        return ModelPath(KERAS, place, argument)
    if place.suffix in _OTHER_FORMATS:
        raise ModelFileError(
            f"{argument} is in {_OTHER_FORMATS[place.suffix]} format, not TensorFlow's: give "
            f"{_ACCEPTED}"
        )
    return ModelPath(GRAPH_DEF, place, argument)


def _in_folder(folder: Path, argument: str) -> ModelPath:
    if any((folder / name).exists() for name in _SAVED_MODEL_FILES):
        return ModelPath(SAVED_MODEL, folder, argument)
    inner = [child for child in folder.iterdir() if (child / _SAVED_MODEL_FILES[0]).exists()]
    hint = f"give {_ACCEPTED}"
    if inner:
        hint = f'did you mean "{min(inner)}"?'
    elif meta := sorted(folder.glob("*.meta")):
        hint = f'it holds checkpoints: did you mean "{meta[-1]}"?'
    raise ModelFileError(
        f"{argument} is a directory without {_SAVED_MODEL_FILES[0]}, hence no SavedModel; {hint}"
    )


def _checkpoint(prefix: Path, argument: str) -> ModelPath:
    for ending, what in ((".index", "its values"), (".meta", "its graph")):
        if not Path(f"{prefix}{ending}").exists():
            raise ModelFileError(
                f'{argument} is a checkpoint without {what}: "{prefix}{ending}" is missing'
            )
    return ModelPath(CHECKPOINT, prefix, argument)
