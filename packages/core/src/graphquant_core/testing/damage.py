"""Broken files: what a reader has to survive."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

HOSTILE_PIECES = (
    b"",
    b"\x00",
    b"\xff",
    b"\xc3\x28",  # no UTF-8
    b"\xed\xa0\x80",  # a lone surrogate
    b"\xff\xff\xff\x7f",  # 2^31 - 1
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xff\xff\xff\xff\x0f",  # 2^32 - 1 as a varint
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x0b\x0c\x1b\x1c",  # protobuf groups
    b"nan",
    b"-inf",
    b"1e999",
    b"-1",
    b"0",
    b"99999999999999999999",
    b"9" * 5000,
    b"null",
    b"[]",
    b"{}",
    b"{" * 3000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b'"',
    b"'",
    b"\\",
    b"\\ud800",
    b"\\377",
    b"#",
    b":",
    b",",
    b"\n",
    b"\r",
    b"<",
    b">",
    b"[type.googleapis.com/a] {}",
    b"x" * 100_000,
)
"""What is put into a file: extremes of the encodings, deep nesting, long names."""

_LONGEST_CHUNK = 60


def damaged(valid: bytes, pieces: tuple[bytes, ...] = ()) -> st.SearchStrategy[bytes]:
    """`valid` after one to four accidents: flipped bits, cuts, chunks lost, doubled or swapped.

    Args:
        valid: A whole file.
        pieces: What may be put in besides `HOSTILE_PIECES`, such as names of the format.
    """
    piece = st.one_of(st.sampled_from([*HOSTILE_PIECES, *pieces]), st.binary(max_size=6))

    @st.composite
    def draw_damaged(draw: st.DrawFn) -> bytes:
        content = valid
        for _ in range(draw(st.integers(1, 4))):
            accident = draw(st.sampled_from(_ACCIDENTS))
            start = draw(st.integers(0, max(len(content) - 1, 0)))
            size = draw(st.integers(1, _LONGEST_CHUNK))
            content = accident(content, start, size, draw(piece))
        return content

    return draw_damaged()


def _flip(content: bytes, start: int, size: int, _: bytes) -> bytes:
    if not content:
        return content
    flipped = content[start] ^ 1 << size % 8
    return content[:start] + bytes([flipped]) + content[start + 1 :]


def _cut(content: bytes, start: int, _: int, __: bytes) -> bytes:
    return content[:start]


def _lose(content: bytes, start: int, size: int, _: bytes) -> bytes:
    return content[:start] + content[start + size :]


def _double(content: bytes, start: int, size: int, _: bytes) -> bytes:
    return content[: start + size] + content[start:]


def _swap(content: bytes, start: int, size: int, _: bytes) -> bytes:
    middle, end = start + size, start + 2 * size
    return content[:start] + content[middle:end] + content[start:middle] + content[end:]


def _insert(content: bytes, start: int, _: int, piece: bytes) -> bytes:
    return content[:start] + piece + content[start:]


def _overwrite(content: bytes, start: int, _: int, piece: bytes) -> bytes:
    return content[:start] + piece + content[start + len(piece) :]


def _replace(content: bytes, start: int, size: int, piece: bytes) -> bytes:
    return content[:start] + piece + content[start + size :]


_ACCIDENTS: tuple[Callable[[bytes, int, int, bytes], bytes], ...] = (
    _flip,
    _cut,
    _lose,
    _double,
    _swap,
    _insert,
    _overwrite,
    _replace,
)
