"""Ranges from data: each estimator turns values into (minimum, maximum), as pure functions."""

from __future__ import annotations

from graphquant_core.calibration.estimator import RangeEstimator
from graphquant_core.calibration.ifmr import ifmr_range
from graphquant_core.calibration.max_abs import max_abs_range
from graphquant_core.calibration.min_max import min_max_range
from graphquant_core.calibration.mse import affine_mse_range, symmetric_mse_range
from graphquant_core.calibration.percentile import percentile_range

__all__ = [
    "RangeEstimator",
    "affine_mse_range",
    "ifmr_range",
    "max_abs_range",
    "min_max_range",
    "percentile_range",
    "symmetric_mse_range",
]
