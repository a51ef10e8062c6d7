"""Reads tables of a flatbuffer by slot number, without generated code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from flatbuffers import number_types  # type: ignore[import-untyped]
from flatbuffers.encode import Get  # type: ignore[import-untyped]
from flatbuffers.packer import uoffset  # type: ignore[import-untyped]
from flatbuffers.table import Table  # type: ignore[import-untyped]


class FlatTable:
    """One table in `data`; a slot is the place of a field in the table's schema.

    Reading outside `data` raises struct.error, IndexError or ValueError.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._table = Table(data, position)

    @classmethod
    def root(cls, data: bytes) -> FlatTable:
        """The table that `data` is about."""
        return cls(data, Get(uoffset, data, 0))

    def integer(self, slot: int, default: int = 0) -> int:
        """An int32 field."""
        position = self._position(slot)
        if not position:
            return default
        return int(self._table.Get(number_types.Int32Flags, position))

    def byte(self, slot: int) -> int:
        """A bool, byte or union-type field."""
        position = self._position(slot)
        return int(self._table.Get(number_types.Uint8Flags, position)) if position else 0

    def text(self, slot: int) -> str:
        """A string field, ``""`` when it is not there."""
        position = self._position(slot)
        content = self._table.String(position) if position else b""
        return bytes(content).decode()

    def table(self, slot: int) -> FlatTable | None:
        """A table field, or a union's value."""
        position = self._position(slot)
        return FlatTable(self._data, self._table.Indirect(position)) if position else None

    def tables(self, slot: int) -> Iterator[FlatTable]:
        """The elements of a vector of tables."""
        offset = self._offset(slot)
        if not offset:
            return
        start = self._table.Vector(offset)
        for index in range(self._table.VectorLen(offset)):
            yield FlatTable(self._data, self._table.Indirect(start + 4 * index))

    def numbers(self, slot: int, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """A vector of numbers; empty when it is not there."""
        offset = self._offset(slot)
        if not offset:
            return np.zeros(0, dtype)
        start, length = self._table.Vector(offset), self._table.VectorLen(offset)
        return np.frombuffer(self._data, dtype, length, start)

    def _offset(self, slot: int) -> int:
        """Where the field stands relative to the table, 0 when it is not there."""
        return int(self._table.Offset(4 + 2 * slot))

    def _position(self, slot: int) -> int:
        offset = self._offset(slot)
        return offset + self._table.Pos if offset else 0
