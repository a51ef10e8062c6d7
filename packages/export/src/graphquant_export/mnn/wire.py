"""The fields of a serialized protobuf message, as bytes that can be kept as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def split_fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, whole bytes and value bytes of each field of `message`, which is valid."""
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _BYTES:
            length, begin = _varint(message, position)
            position = begin + length
        elif kind == _VARINT:
            begin, (_, position) = position, _varint(message, position)
        else:
            begin, position = position, position + {_FIXED64: 8, _FIXED32: 4}[kind]
        yield tag >> 3, message[start:position], message[begin:position]


def join_fields(fields: Iterable[tuple[int, bytes]]) -> bytes:
    """The bytes of (number, value) fields whose values are bytes, texts or messages."""
    return b"".join(
        _as_varint(number << 3 | _BYTES) + _as_varint(len(value)) + value
        for number, value in fields
    )


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _as_varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
