"""Samples for the placeholders of a model, from NumPy's files."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import ConfigError, ModelFileError
from graphquant_core.listing import listed, listed_names
from graphquant_core.suggestions import closest

_STARTS = (b"\x93NUMPY", b"PK")
"""First bytes of a .npy and of a .npz; NumPy takes all else for pickled objects."""


def load_samples(
    path: str | os.PathLike[str],
    inputs: Sequence[str],
    argument: str = "calibration",
    *,
    mapped: bool = False,
) -> dict[str, npt.NDArray[Any]]:
    """The arrays in the file at `path`, by the names of `inputs`.

    Args:
        path: A ``.npz`` with an array for each placeholder under its name (``"x"`` or ``"x:0"``);
            with a model of one placeholder, also a ``.npy``, or a ``.npz`` with one array.
        inputs: Names of the model's placeholders.
        argument: What error messages call `path`.
        mapped: Whether the array of a ``.npy`` stays in the file, to be read where it is used.

    Raises:
        ModelFileError: The file can't be read, or holds no arrays.
        ConfigError: An array is called like no placeholder; names the closest.
    """
    arrays = _read(path, argument, mapped)
    if len(arrays) == len(inputs) == 1:
        (only,) = arrays.values()
        return {inputs[0]: only}
    if "" in arrays:
        names = listed_names(inputs)
        raise ConfigError(
            f"{argument} ({path}) holds one array for a model with several inputs ({names}): give "
            "a .npz with an array under each of these names"
        )
    found: dict[str, npt.NDArray[Any]] = {}
    for key, value in arrays.items():
        name = key.removesuffix(":0")
        if name not in inputs:
            raise ConfigError(
                f'{argument} ({path}): the model has no input "{name}"{closest(name, inputs)} '
                f"(inputs: {listed(inputs)})"
            )
        found[name] = value
    return found


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
            if not file.read(len(_STARTS[0])).startswith(_STARTS):
                raise ModelFileError(f"{argument} ({path}) is neither a .npy nor a .npz file")
        loaded = np.load(path, "r" if mapped else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
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
