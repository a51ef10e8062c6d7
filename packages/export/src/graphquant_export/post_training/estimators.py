"""Range estimators by the names that a user gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphquant_core.calibration import (
    RangeEstimator,
    affine_mse_range,
    ifmr_range,
    min_max_range,
    percentile_range,
)
from graphquant_core.exceptions import UnknownNameError
from graphquant_core.listing import choices
from graphquant_core.suggestions import closest

ESTIMATORS: Mapping[str, RangeEstimator] = MappingProxyType(
    {
        "ifmr": ifmr_range,
        "min_max": min_max_range,
        "mse": affine_mse_range,
        "percentile": percentile_range,
    }
)
"""AMCT's search, the extreme values, least squared error, and without the rarest values."""


def range_estimator(name: str) -> RangeEstimator:
    """The estimator called `name`.

    Raises:
        UnknownNameError: There is none; names the closest and lists them.
    """
    if name not in ESTIMATORS:
        raise UnknownNameError(
            f'activation ("{name}") is no range estimator{closest(str(name), ESTIMATORS)} '
            f"(there: {choices(ESTIMATORS)})"
        )
    return ESTIMATORS[name]
