"""The grid of every value of a rounding plan: recorded, or from ranges that were observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.rounding_plan import RoundedValue

Range = tuple[float, float]

LARGEST_RATIO = 16.0
"""How many times coarser than its own grid an operand may be rounded: 4 of its 8 bits."""


def grids_of_values(
    values: Sequence[RoundedValue], recorded: Mapping[str, ValueGrid]
) -> dict[str, ValueGrid]:
    """The grid of each of `values`, by name.

    Args:
        values: A rounding plan, all of whose ranges are known.
        recorded: The grid of each value that has a range, by name.
    """
    grids: dict[str, ValueGrid] = {}
    by_tensor: dict[str, ValueGrid] = {}
    for value in values:
        if value.fixed is not None:
            grid = value.fixed
        elif value.averaged:
            grid = by_tensor[value.operands[0].name]
        else:
            grid = recorded[value.name]
        grids[value.name] = by_tensor[value.tensor.name] = grid
    return grids


def observed_grid(
    value: RoundedValue, seen: Range, quantizers: Mapping[str, ValueGrid]
) -> ValueGrid:
    """That of the quantiser that takes `value`, where it holds what was seen; else its own.

    An estimator of ranges may leave out the rarest values, of which a step or two are lost.
    """
    if value.quantizer is not None and quantizers[value.quantizer].covers(*seen, steps=2.0):
        return quantizers[value.quantizer]
    return ValueGrid.over(*seen)


def lost_operand(value: RoundedValue, ranges: Mapping[str, Range]) -> tf.Tensor | None:
    """The operand of which the grid of `value` would leave less than 4 of 8 bits, if any.

    Args:
        value: A value.
        ranges: Smallest and largest value of it and of its operands, by tensor name.
    """
    if not value.united:
        return None
    scale = ValueGrid.over(*ranges[value.tensor.name]).scale
    for operand in value.operands:
        low, high = ranges[operand.name]
        if low < high and scale > LARGEST_RATIO * ValueGrid.over(low, high).scale:
            return operand
    return None
