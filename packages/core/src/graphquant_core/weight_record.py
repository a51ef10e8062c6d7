"""How the weights alone of a model are quantised, by the names of its layers. No TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from graphquant_core.arguments import checked_bool, checked_integer
from graphquant_core.exceptions import BitsError
from graphquant_core.record import Record

MIN_BITS, MAX_BITS = 2, 8


def checked_bits(value: object) -> int:
    """`value` as the int that it is.

    Raises:
        BitsError: It is no integer from 2 to 8.
    """
    return checked_integer("bits", value, MIN_BITS, MAX_BITS, BitsError)


def checked_asymmetric(value: object) -> bool:
    """`value` as the bool that it is.

    Raises:
        ConfigError: It is none.
    """
    return checked_bool("asymmetric", value)


def checked_block_size(value: object) -> int:
    """`value` as the int that it is.

    Raises:
        ConfigError: It is no integer of at least 0.
    """
    return checked_integer("block_size", value, 0)


@attrs.frozen
class WeightGrid:
    """The grid of a weight: its scales, and offsets, follow from the weights that lie on it.

    Of each group of weights the scale is max|w| / (2^(bits-1) - 1) or, asymmetric,
    (max - min) / (2^bits - 1), and the offset its minimum.

    Attributes:
        bits: 2 to 8.
        asymmetric: Whether a group has a minimum of its own.
        block_size: Input channels of a group; 0 for one group per output channel.

    Raises:
        BitsError: `bits` is not an integer from 2 to 8.
    """

    bits: int = attrs.field(converter=checked_bits)
    asymmetric: bool = attrs.field(default=False, converter=checked_asymmetric)
    block_size: int = attrs.field(default=0, converter=checked_block_size)


def _copied(grids: Mapping[str, WeightGrid]) -> dict[str, WeightGrid]:
    return dict(grids)


@attrs.frozen
class WeightRecord(Mapping[str, WeightGrid]):
    """The grid of each layer's weight, by the name of its op in TensorFlow.

    >>> WeightRecord({"conv1/Conv2D": WeightGrid(4)})["conv1/Conv2D"].bits
    4

    Attributes:
        grids: Grids by layer name.
    """

    grids: Mapping[str, WeightGrid] = attrs.field(converter=_copied)

    def __getitem__(self, layer: str) -> WeightGrid:
        return self.grids[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.grids)

    def __len__(self) -> int:
        return len(self.grids)


Factors = Record | WeightRecord
"""What a model is exported with: factors of layers, or grids of weights alone."""
