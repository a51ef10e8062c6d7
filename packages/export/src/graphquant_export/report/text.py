"""Numbers as a report shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def number(value: float | None) -> str:
    """Four digits, or a dash."""
    return "–" if value is None else f"{value:.4g}"


def steps(value: float) -> str:
    """Three digits; what is less than a thousandth of a step is only said to be."""
    return "<0.001" if 0 < value < 0.001 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """Two digits behind the point, or a dash; never 0 for something or 100 % for not all."""
    if value is None:
        return "–"
    if 0 < value < 0.00005:
        return "<0.01%"
    if 0.99995 <= value < 1:
        return ">99.99%"
    return f"{value:.2%}"


def decibels(value: float | None) -> str:
    """One digit behind the point, or a dash."""
    return "–" if value is None else f"{value:.1f} dB"


def noise(found: Mapping[str, Any]) -> str:
    """The SQNR of a comparison; ∞ where nothing differs."""
    identical = found["largest"] == 0 and not found["not_finite"]
    return "∞" if found["sqnr"] is None and identical else decibels(found["sqnr"])


def size(count: int) -> str:
    """Bytes in the unit that leaves 1 to 3 digits before the point."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{count} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
