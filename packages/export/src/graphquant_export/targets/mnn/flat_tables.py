"""Reads tables of a flatbuffer by slot number, without generated code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from flatbuffers import number_types  # type: ignore[import-untyped]
from flatbuffers.encode import Get  # type: ignore[import-untyped]
from flatbuffers.packer import uoffset  # type: ignore[import-untyped]
from flatbuffers.table import Table  # type: ignore[import-untyped]

_READINGS = 8
_SPARE_BYTES = 2**16
_TABLE_BYTES = 16


class Budget:
    """How many bytes may still be read from a file.

    Many references may lead to one place, so that a small file could be read without end: all
    tables of a file may take as much as if each of its bytes was read eight times.
    """

    def __init__(self, data: bytes) -> None:
        self.left = _READINGS * len(data) + _SPARE_BYTES

    def spend(self, count: int) -> None:
        """Takes `count` bytes off; raises ValueError when there are fewer left."""
        self.left -= count
        if self.left < 0:
            raise ValueError("it refers to more than it can hold")


class FlatTable:
    """One table in `data`; a slot is the place of a field in the table's schema.

    Reading outside `data`, or more than `budget`, raises struct.error, IndexError or ValueError.
    """

    def __init__(self, data: bytes, position: int, budget: Budget) -> None:
        budget.spend(_TABLE_BYTES)
        self.budget = budget
        self._data = data
        self._table = Table(data, position)

    @classmethod
    def root(cls, data: bytes) -> FlatTable:
        """The table that `data` is about."""
        return cls(data, Get(uoffset, data, 0), Budget(data))

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

    def number(self, slot: int, default: float = 0.0) -> float:
        """A float32 field."""
        position = self._position(slot)
        if not position:
            return default
        return float(self._table.Get(number_types.Float32Flags, position))

    def text(self, slot: int) -> str:
        """A string field, ``""`` when it is not there."""
        position = self._position(slot)
        return self._text_at(position) if position else ""

    def table(self, slot: int) -> FlatTable | None:
        """A table field, or a union's value."""
        position = self._position(slot)
        if not position:
            return None
        return FlatTable(self._data, self._table.Indirect(position), self.budget)

    def tables(self, slot: int) -> Iterator[FlatTable]:
        """The elements of a vector of tables."""
        offset = self._offset(slot)
        if not offset:
            return
        start = self._table.Vector(offset)
        for index in range(self._table.VectorLen(offset)):
            yield FlatTable(self._data, self._table.Indirect(start + 4 * index), self.budget)

    def numbers(self, slot: int, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """A vector of numbers; empty when it is not there."""
        place = self.place(slot, dtype)
        length = (place.stop - place.start) // np.dtype(dtype).itemsize
        found = np.frombuffer(self._data, dtype, length, place.start)
        self.budget.spend(found.nbytes)
        return found

    def place(self, slot: int, dtype: npt.DTypeLike) -> slice:
        """Where in `data` the numbers of a vector are; empty when it is not there."""
        offset = self._offset(slot)
        if not offset:
            return slice(0, 0)
        start = self._table.Vector(offset)
        return slice(start, start + self._table.VectorLen(offset) * np.dtype(dtype).itemsize)

    def texts(self, slot: int) -> Iterator[str]:
        """The elements of a vector of strings."""
        offset = self._offset(slot)
        if not offset:
            return
        start = self._table.Vector(offset)
        for index in range(self._table.VectorLen(offset)):
            yield self._text_at(start + 4 * index)

    def _text_at(self, position: int) -> str:
        content = bytes(self._table.String(position))
        self.budget.spend(len(content) + 1)
        return content.decode()

    def _offset(self, slot: int) -> int:
        """Where the field stands relative to the table, 0 when it is not there."""
        return int(self._table.Offset(4 + 2 * slot))

    def _position(self, slot: int) -> int:
        offset = self._offset(slot)
        return offset + self._table.Pos if offset else 0
