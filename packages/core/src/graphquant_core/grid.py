"""The integers that a tensor is quantised to."""

from __future__ import annotations

import attrs

from graphquant_core.arguments import checked_bool, checked_integer
from graphquant_core.exceptions import BitsError

MIN_BITS = 2
MAX_BITS = 16


def _bits(value: object) -> int:
    return checked_integer("bits", value, MIN_BITS, MAX_BITS, BitsError)


def _narrow(value: object) -> bool:
    return checked_bool("narrow", value)


@attrs.frozen
class Grid:
    """Integers ±(2^(b-1)-1) when narrow, else -2^(b-1) … 2^(b-1)-1, for b bits.

    >>> Grid(8, narrow=True).minimum, Grid(8, narrow=False).minimum
    (-127, -128)

    Attributes:
        bits: Bits of an integer, 2 to 16.
        narrow: Whether the lowest integer is left out, which makes the grid symmetric.

    Raises:
        BitsError: `bits` is not an integer from 2 to 16.
        ConfigError: `narrow` is not True or False.
    """

    bits: int = attrs.field(converter=_bits)
    narrow: bool = attrs.field(converter=_narrow)

    @property
    def minimum(self) -> int:
        """Lowest integer: -2^(b-1), or one more when narrow."""
        return int(self.narrow) - (1 << (self.bits - 1))

    @property
    def maximum(self) -> int:
        """Highest integer: 2^(b-1)-1."""
        return (1 << (self.bits - 1)) - 1

    @property
    def levels(self) -> int:
        """Number of steps from the lowest to the highest integer: maximum - minimum."""
        return self.maximum - self.minimum


INT8 = Grid(8, narrow=False)
"""-128 … 127: activations."""

INT8_NARROW = Grid(8, narrow=True)
"""-127 … 127: weights."""
