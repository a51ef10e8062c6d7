"""Grids of values that a record lacks, from the ranges that they have on samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy.typing as npt

from graphquant_core.record import Record
from graphquant_export.quantized.observe_ranges import observe_ranges
from graphquant_export.quantized.rounding_plan import RoundedValue
from graphquant_export.quantized.target_planner import TargetPlanner
from graphquant_export.quantized.value_grids import Range, lost_operand, observed_grid

logger = logging.getLogger(__name__)

Observe = Callable[[Sequence[str]], Mapping[str, Range]]
"""From names of tensors of the simulation to the range of each."""


def extreme_values(planner: TargetPlanner, calibration: Mapping[str, npt.ArrayLike]) -> Observe:
    """The smallest and the largest value on `calibration`.

    Raises: as `observe_ranges`.
    """
    return lambda names: observe_ranges(planner.graph_def, names, calibration)


def complete_record(planner: TargetPlanner, record: Record, observe: Observe) -> Record:
    """`record` with the grid of each value that it lacks, where each operand keeps 4 bits.

    A range that a layer's quantiser takes, too, and that its grid holds, gets that grid.

    Args:
        planner: The target's plans.
        record: Scales and offsets of the layers, and grids of values.
        observe: Where ranges come from.
    """
    unrounded: list[str] = []
    ranges: dict[str, Range] = {}
    while True:
        values = planner.plan(unrounded=unrounded).values
        lacking = [v for v in values if v.has_range and v.name not in record.value_grids]
        names = [name for name in _needed(lacking) if name not in ranges]
        ranges.update(observe(names) if names else {})
        lost = [v.name for v in lacking if _loses_operand(v, ranges)]
        if not lost:
            break
        unrounded += lost
    found = {v.name: observed_grid(v, ranges[v.tensor.name], planner.grids) for v in lacking}
    return attrs.evolve(record, value_grids={**record.value_grids, **found})


def _needed(values: Sequence[RoundedValue]) -> list[str]:
    tensors = [value.tensor for value in values]
    tensors += [operand for value in values if value.united for operand in value.operands]
    return list(dict.fromkeys(str(tensor.name) for tensor in tensors))


def _loses_operand(value: RoundedValue, ranges: Mapping[str, Range]) -> bool:
    operand = lost_operand(value, ranges)
    if operand is not None:
        logger.warning(
            '"%s" computes in float: on the grid of its result, "%s" would keep less than 4 of its '
            "8 bits",
            value.tensor.op.name,
            operand.op.name,
        )
    return operand is not None
