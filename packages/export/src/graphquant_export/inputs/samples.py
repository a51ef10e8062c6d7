"""Samples for the placeholders of a model, from NumPy's files or a folder of images."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import ConfigError, FileWriteError, ModelFileError
from graphquant_core.listing import listed, listed_names
from graphquant_core.suggestions import closest
from graphquant_export.inputs.npz_arrays import mapped_arrays

if TYPE_CHECKING:
    from graphquant_export.inputs.loaded_model import LoadedModel

_NUMPY, _ZIP = b"\x93NUMPY", b"PK"
"""First bytes of a .npy and of a .npz; NumPy takes all else for pickled objects."""


def load_samples(
    path: str | os.PathLike[str],
    inputs: LoadedModel | Sequence[str],
    argument: str = "calibration",
    *,
    mapped: bool = False,
    image_range: Sequence[float] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """The samples at `path`, by the names of the inputs.

    Args:
        path: A ``.npz`` with an array for each placeholder under its name (``"x"`` or ``"x:0"``);
            with a model of one placeholder (but for those with a default), also a ``.npy``, a
            ``.npz`` with one array, or a folder of images, whose subfolders are read as well.
        inputs: The model, or the names of its placeholders; a folder needs the model.
        argument: What error messages call `path`.
        mapped: Whether arrays stay in the file, to be read where they are used; what is compressed
            is unpacked into a temporary file. Decoded images are always in one.
        image_range: What 0 and 255 of an image become, such as ``(-1, 1)``; by default 0 and 1, or
            0 and 255 where the model takes integers.

    Raises:
        ModelFileError: The file can't be read, or holds no arrays; a file of the folder is no
            image.
        ConfigError: An array is called like no placeholder; names the closest. An image has other
            channels than the model takes; the model doesn't take images; `image_range` is none.
        FileWriteError: There is no room for the temporary file.
    """
    if os.path.isdir(path):
        return _images(path, inputs, argument, image_range)
    if image_range is not None:
        raise ConfigError(
            f"image_range is for a folder of images; the values of {argument} ({path}) are taken "
            "as they are"
        )
    names, fed = _names(inputs)
    arrays = _read(path, argument, mapped)
    if len(arrays) == len(fed) == 1 and (len(names) == 1 or not set(arrays) & set(names)):
        (only,) = arrays.values()
        return {fed[0]: only}
    if "" in arrays:
        raise ConfigError(
            f"{argument} ({path}) holds one array for a model with several inputs "
            f"({listed_names(names)}): give a .npz with an array under each of these names, or "
            "their values to those that never change (input_values=)"
        )
    found: dict[str, npt.NDArray[Any]] = {}
    for key, value in arrays.items():
        name = key.removesuffix(":0")
        if name not in names:
            raise ConfigError(
                f'{argument} ({path}): the model has no input "{name}"{closest(name, names)} '
                f"(inputs: {listed(names)})"
            )
        found[name] = value
    return found


def _names(inputs: LoadedModel | Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The inputs, and those without a default."""
    from graphquant_export.inputs.loaded_model import LoadedModel

    if not isinstance(inputs, LoadedModel):
        return inputs, inputs
    types = {node.name: node.op for node in inputs.graph_def.node}
    fed = [name for name in inputs.inputs if types[name] != "PlaceholderWithDefault"]
    return inputs.inputs, fed or inputs.inputs


def _images(
    folder: str | os.PathLike[str],
    model: LoadedModel | Sequence[str],
    argument: str,
    image_range: Sequence[float] | None,
) -> dict[str, npt.NDArray[Any]]:
    from graphquant_export.inputs.loaded_model import LoadedModel

    if not isinstance(model, LoadedModel):
        raise ConfigError(
            f"{argument} ({folder}) is a folder: give a .npy or .npz file, or the model that "
            "load_model returned, which says how large its images are"
        )
    # TensorFlow is started for images alone.
    from graphquant_export.inputs.image_input import image_input
    from graphquant_export.inputs.images import load_images

    taken = image_input(model, f"{argument} ({folder})")
    return {taken.name: load_images(folder, taken, image_range, argument)}


def first_samples(samples: Mapping[str, npt.ArrayLike], most: int) -> dict[str, npt.NDArray[Any]]:
    """The first `most` samples of each input; what has another number of rows is left as it is."""
    values = {name: np.asarray(value) for name, value in samples.items()}
    count = max((len(value) for value in values.values() if value.ndim), default=0)
    return {
        name: value[:most] if value.ndim and len(value) == count else value
        for name, value in values.items()
    }


def _read(path: str | os.PathLike[str], argument: str, mapped: bool) -> dict[str, npt.NDArray[Any]]:
    """The arrays by name; that of a .npy has the name ""."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(_NUMPY))
            if not start.startswith((_NUMPY, _ZIP)):
                raise ModelFileError(f"{argument} ({path}) is neither a .npy nor a .npz file")
        arrays = _arrays(path, start, argument, mapped)
    except FileWriteError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(f"{argument} ({path}) cannot be read: {reason}") from error
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelFileError(
            f"{argument} ({path}) holds no arrays of numbers; give a .npy or .npz file: {error}"
        ) from error
    if not arrays:
        raise ModelFileError(f"{argument} ({path}) holds no array")
    return arrays


def _arrays(
    path: str | os.PathLike[str], start: bytes, argument: str, mapped: bool
) -> dict[str, npt.NDArray[Any]]:
    if mapped and start.startswith(_ZIP):
        return mapped_arrays(path, argument)
    loaded = np.load(path, "r" if mapped else None, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"": loaded}
    with loaded:
        return {name: loaded[name] for name in loaded.files}
