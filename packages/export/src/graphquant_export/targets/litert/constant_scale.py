"""A number in int8."""

from __future__ import annotations

import numpy as np


def constant_scale(value: float) -> float:
    """The scale on which `value` is 127 or -127, a float32 value; 1.0 for 0.0."""
    return float(np.float32(abs(value) / 127)) or 1.0
