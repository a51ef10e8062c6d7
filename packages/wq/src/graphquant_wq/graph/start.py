"""What `init` finds out from the weights: which zeros to keep, and where training starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from graphquant_core.finite import check_finite
from graphquant_core.registry import Registry
from graphquant_wq.graph.records import QuantizedWeight
from graphquant_wq.strategies.contract import StartsByClipping, StartsVariables

logger = logging.getLogger(__name__)

Float32Array = npt.NDArray[np.float32]


def check_weights(
    weights: Mapping[str, QuantizedWeight], values: Mapping[str, Float32Array]
) -> None:
    """Return when every weight is finite.

    Raises:
        NonFiniteError: One isn't; names the layer and the variable.
    """
    for name, weight in weights.items():
        where = f'weight "{weight.layer.weight_source}" of layer "{name}"'
        check_finite(values[weight.weight], where)


def has_pruned_zeros(values: Float32Array) -> bool:
    """Whether some of the weights are zero, but not all: a weight that starts at zero may learn."""
    return bool(0 < np.count_nonzero(values) < values.size)


def variable_starts(
    weight: QuantizedWeight,
    values: Float32Array,
    factor: Float32Array | None,
    keeps_zero: bool,
    registry: Registry,
) -> dict[str, Float32Array]:
    """Values of the variables that the strategy trains, by the names of their ops."""
    strategy = registry.weight_quantizer(weight.settings.strategy)
    if not isinstance(strategy, StartsVariables):
        return {}
    settings = weight.settings_with_zero() if keeps_zero else weight.settings
    started = strategy.start(weight.folded_rows(values, factor), settings.grid)
    return {f"{weight.layer.weight_source}/{name}": value for name, value in started.items()}


def clipped(
    weight: QuantizedWeight,
    values: Float32Array,
    factor: Float32Array | None,
    keeps_zero: bool,
    registry: Registry,
) -> Float32Array | None:
    """`values` clipped to the range that the grid fits best; ``None`` when nothing changes."""
    strategy = registry.weight_quantizer(weight.settings.strategy)
    if not isinstance(strategy, StartsByClipping):
        return None
    settings = weight.settings_with_zero() if keeps_zero else weight.settings
    rows = weight.folded_rows(values, factor)
    clipped_rows = strategy.clip(rows, settings.grid)
    changed = clipped_rows != rows
    if not changed.any():
        return None
    return np.where(weight.grouping.weight(changed), weight.unfolded(clipped_rows, factor), values)
