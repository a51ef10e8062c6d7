"""The integers that a tensor is quantised to."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from graphquant_core.exceptions import BitsError, ConfigError

MIN_BITS = 2
MAX_BITS = 16


def _builtin_int(bits: Any) -> Any:
    return int(bits) if isinstance(bits, np.integer) else bits


def _check_bits(_: Any, __: Any, bits: Any) -> None:
    whole = isinstance(bits, int) and not isinstance(bits, bool)
    if not whole or not MIN_BITS <= bits <= MAX_BITS:
        raise BitsError(f"bits ({bits!r}) must be an integer from {MIN_BITS} to {MAX_BITS}")


def _check_narrow(_: Any, __: Any, narrow: Any) -> None:
    if not isinstance(narrow, bool):
        raise ConfigError(f"narrow ({narrow!r}) must be True or False")


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
    """

    bits: int = attrs.field(converter=_builtin_int, validator=_check_bits)
    narrow: bool = attrs.field(validator=_check_narrow)

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
