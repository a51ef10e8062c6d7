"""Arrays in a temporary file without a name, mapped: it goes when nothing uses the array."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import FileWriteError


def write_temporary(write: Callable[[IO[bytes]], object], what: str) -> IO[bytes]:
    """A temporary file that holds what `write` wrote to it, at its beginning.

    Args:
        write: Called with the open file.
        what: What error messages call its content.

    Raises:
        FileWriteError: The disk is full, or can't be written; names the folder.
    """
    file: IO[bytes] | None = None
    try:
        file = tempfile.TemporaryFile(prefix="graphquant-")  # noqa: SIM115 the array holds it
        write(file)
        file.flush()
        file.seek(0)
    except OSError as error:
        if file is not None:
            file.close()
        raise FileWriteError(
            f"{what} cannot be written to the temporary folder ({tempfile.gettempdir()}; TMPDIR "
            f"sets another): {error.strerror or error}"
        ) from error
    return file


def map_array(
    file: Any, dtype: np.dtype[Any], shape: Sequence[int], offset: int = 0, order: str = "C"
) -> npt.NDArray[Any]:
    """The array that `file`, a path or an open file, holds from `offset` bytes on, read-only."""
    return np.memmap(file, dtype, "r", offset, tuple(shape), order)  # type: ignore[call-overload]
