"""What a tensor of a graph with loops is in the graph without them."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs
import numpy.typing as npt


class OpenLoopError(Exception):
    """A loop can't be written out; says why."""


@attrs.frozen
class TensorList:
    """A TensorList or a TensorArray, which no graph without loops needs.

    Attributes:
        elements: Name of the tensor at each place; ``None`` where nothing was written.
        tensor: Name of the same list as the op of the graph holds it, where there is one.
    """

    elements: tuple[str | None, ...]
    tensor: str | None = None

    def read(self, place: int) -> str:
        """Name of the element at `place`.

        Raises:
            OpenLoopError: There is none, or nothing was written there.
        """
        element = self.elements[place] if 0 <= place < len(self.elements) else None
        if element is None:
            raise OpenLoopError(f"element {place} of a list is read, and was never written")
        return element

    def written(self, place: int, element: str) -> TensorList:
        """The list with `element` at `place`, longer where it has to be.

        Raises:
            OpenLoopError: The place is negative.
        """
        if place < 0:
            raise OpenLoopError(f"element {place} of a list is written")
        missing = (None,) * (place + 1 - len(self.elements))
        elements = [*self.elements, *missing]
        elements[place] = element
        return TensorList(tuple(elements))

    def all(self) -> tuple[str, ...]:
        """Every element.

        Raises:
            OpenLoopError: Nothing was written at a place.
        """
        return tuple(self.read(place) for place in range(len(self.elements)))


@attrs.frozen
class Rows:
    """A list of the rows of a tensor, whose number isn't known.

    Attributes:
        rows: Name of the tensor, whose first axis the list goes along.
        tensor: As of a `TensorList`.
    """

    rows: str
    tensor: str | None = None


Value: TypeAlias = str | TensorList | Rows | npt.NDArray[Any]
"""The name of a tensor, a list of them, or a number that is known: a counter, for example."""
