"""The fields of a serialized protobuf message, as bytes that can be kept as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)


def split_fields(message: bytes) -> Iterator[tuple[int, bytes, bytes | None]]:
    """Number, whole bytes and value of each field of `message`, which is valid.

    The value of a text, a message or bytes is their bytes; that of a number or a group is ``None``.
    """
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
        if tag & 7 == _BYTES:
            length, begin = _varint(message, position)
            position = begin + length
            yield tag >> 3, message[start:position], message[begin:position]
        else:
            position = _after(message, tag & 7, position)
            yield tag >> 3, message[start:position], None


def _after(message: bytes, kind: int, position: int) -> int:
    """Where the field ends whose tag ends at `position`; a group ends with its own end tag."""
    depth = 0
    while True:
        if kind == _BYTES:
            length, position = _varint(message, position)
            position += length
        elif kind == _VARINT:
            _, position = _varint(message, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            depth += 1 if kind == _GROUP else -1
        if depth == 0:
            return position
        tag, position = _varint(message, position)
        kind = tag & 7


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
