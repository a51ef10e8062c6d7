"""Numbers that MNN's converter fixes for every weight."""

from __future__ import annotations

MIN_WEIGHT_BITS = 2
MAX_WEIGHT_BITS = 8

SMALLEST_SCALE = 1e-6
"""MNN stores a symmetric group whose scale is not above this as zeros."""
