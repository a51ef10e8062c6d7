"""The bytes in which MNN stores the codes of a weight."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import ModelFileError

DENSE, SPARSE, PLAIN = 1, 2, 4
"""Values of IDSTQuan.type: packed codes, positions and codes of what isn't zero, int8."""
_WIDEST = 32
"""Bits of the longest way from one code that isn't zero to the next."""
_FIELDS_AT_ONCE = 2**20  # a multiple of 8, so that a part starts with a byte


def decode_codes(
    buffer: npt.NDArray[np.uint8],
    kind: int,
    wide_shape: bool,
    zero: npt.NDArray[np.int8],
    size: int,
    most: int = 2**31 - 1,
) -> npt.NDArray[np.int8]:
    """The codes in `buffer`, int8 ``[G, n]``.

    Args:
        buffer: IDSTQuan.buffer.
        kind: IDSTQuan.type.
        wide_shape: IDSTQuan.shapeInt32.
        zero: int8 ``[G]``, the code that stands for 0.0, which the sparse form leaves out.
        size: Weights in a group, for the plain form, which holds no shape.
        most: Most codes that may come out: the sparse form has no byte for a zero.

    Raises:
        ModelFileError: The bytes are not of that form.

    Source: IDSTEncoder.hpp of MNN 3.6.1.
    """
    data = buffer.tobytes()
    try:
        if kind == PLAIN:
            return np.frombuffer(data, np.int8).reshape(-1, size)
        shape, position = _shape(data, wide_shape)
        if kind == DENSE:
            known, position = _known_codes(data, position)
            return known[_packed(data, position, shape[0] * shape[1], len(known))].reshape(shape)
        if kind == SPARSE:
            return _sparse(data, position, shape, zero, most)
    except (struct.error, IndexError, ValueError) as error:
        raise ModelFileError(f"the codes of a weight cannot be decoded: {error}") from error
    raise ModelFileError(f"the codes of a weight are stored in an unknown form (type {kind})")


def encode_codes(codes: npt.NDArray[np.int8], wide_shape: bool) -> bytes:
    """IDSTQuan.buffer of `codes`, ``[G, n]``, in the dense form with every code of 8 bits known.

    Args:
        codes: The codes.
        wide_shape: IDSTQuan.shapeInt32.

    Source: IDSTEncoder.hpp of MNN 3.6.1.
    """
    shape = struct.pack("<B2I" if wide_shape else "<B2H", 2, *codes.shape)
    known = np.arange(-128, 128).astype(np.int8)
    packed = (codes.astype(np.int16) + 128).astype(np.uint8)
    return shape + bytes([len(known) % 256]) + known.tobytes() + packed.tobytes()


def _shape(data: bytes, wide: bool) -> tuple[tuple[int, int], int]:
    if data[0] != 2:
        raise ValueError(f"{data[0]} dimensions instead of 2")
    groups, size = struct.unpack_from("<2I" if wide else "<2H", data, 1)
    return (groups, size), 9 if wide else 5


def _known_codes(data: bytes, position: int) -> tuple[npt.NDArray[np.int8], int]:
    count = data[position] or 256
    start = position + 1
    return np.frombuffer(data, np.int8, count, start), start + count


def _packed(data: bytes, position: int, count: int, known: int) -> npt.NDArray[np.uint32]:
    """`count` numbers of as many bits as `known` different ones need, highest bit first."""
    return _bit_fields(data, position, count, max((known - 1).bit_length(), 1))


def _bit_fields(data: bytes, position: int, count: int, width: int) -> npt.NDArray[np.uint32]:
    stored = np.frombuffer(data, np.uint8, (count * width + 7) // 8, position)
    if width == 8:
        return stored.astype(np.uint32)
    numbers = np.zeros(count, np.uint32)
    # Bits are bytes while they are unpacked: a layer may have a hundred million of them.
    for start in range(0, count, _FIELDS_AT_ONCE):
        fields = numbers[start : start + _FIELDS_AT_ONCE]
        part = stored[start * width // 8 : (start + len(fields)) * width // 8 + 1]
        bits = np.unpackbits(part, count=len(fields) * width).reshape(len(fields), width)
        for column in bits.T:
            fields[:] = fields << 1 | column
    return numbers


def _sparse(
    data: bytes, position: int, shape: tuple[int, int], zero: npt.NDArray[np.int8], most: int
) -> npt.NDArray[np.int8]:
    if shape[0] != len(zero) or shape[0] * shape[1] > most:
        raise ValueError(f"{shape[0]} groups of {shape[1]} codes are not what it can hold")
    stored, width = struct.unpack_from("<IB", data, position)
    if width > _WIDEST:
        raise ValueError(f"steps of {width} bits instead of {_WIDEST} at most")
    steps = _bit_fields(data, position + 5, stored, width)
    known, position = _known_codes(data, position + 5 + (stored * width + 7) // 8)
    codes = known[_packed(data, position, stored, len(known))]
    dense = np.repeat(zero, shape[1])
    dense[np.cumsum(steps)] = codes
    return dense.reshape(shape)
