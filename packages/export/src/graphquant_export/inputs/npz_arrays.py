"""The arrays of a .npz, mapped: what is stored there in place, what is compressed unpacked once."""

from __future__ import annotations

import math
import os
import shutil
import zipfile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from graphquant_export.inputs.temporary_array import map_array, write_temporary

SMALL = 2**16
"""Bytes below which an array is read: scalars and empty arrays can't be mapped."""

_LOCAL_HEADER = 30
"""Bytes of a zip's local header in front of the name and the extra field, whose lengths end it."""


def mapped_arrays(path: str | os.PathLike[str], argument: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the .npz at `path`, by their names.

    Raises:
        OSError, ValueError, zipfile.BadZipFile, zlib.error: It can't be read, is damaged, or holds
            something else.
        FileWriteError: There is no room for what is unpacked.
    """
    with zipfile.ZipFile(path) as archive:
        return {
            info.filename.removesuffix(".npy"): _mapped(path, archive, info, argument)
            for info in archive.infolist()
        }


def _mapped(
    path: str | os.PathLike[str], archive: zipfile.ZipFile, info: zipfile.ZipInfo, argument: str
) -> npt.NDArray[Any]:
    with archive.open(info) as member:
        dtype, shape, is_fortran = _header(member)
        offset = member.tell()
        if math.prod(shape) * dtype.itemsize < SMALL:
            member.seek(0)
            found: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
            return found
        order = "F" if is_fortran else "C"
        if info.compress_type == zipfile.ZIP_STORED:
            while member.read(2**20):  # To its end, where zipfile compares the checksum.
                pass
            return map_array(path, dtype, shape, _start(path, info) + offset, order)
        member.seek(0)
        what = f'{argument} ({path}): the unpacked array "{info.filename}"'
        unpacked = write_temporary(lambda file: shutil.copyfileobj(member, file, 2**20), what)
    with unpacked:
        return map_array(unpacked, dtype, shape, offset, order)


def _header(member: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """(type, shape, whether the first index runs fastest); `member` then stands at the values."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(member)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded")
    return dtype, shape, is_fortran


def _start(path: str | os.PathLike[str], info: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin."""
    with open(path, "rb") as file:
        file.seek(info.header_offset + _LOCAL_HEADER - 4)
        lengths = np.frombuffer(file.read(4), "<u2")
    return info.header_offset + _LOCAL_HEADER + int(lengths.sum())
