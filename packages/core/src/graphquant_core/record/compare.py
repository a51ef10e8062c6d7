"""Where two records differ, layer by layer."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from graphquant_core.exceptions import RangeError
from graphquant_core.listing import listed
from graphquant_core.record.factors import Float32Array, LayerFactors, Record

COMPARISON_HEADER = ("layer", "scale_d ratio", "offset_d difference", "scale_w ratio", "what")


@attrs.frozen
class LayerComparison:
    """One layer of two records.

    Attributes:
        name: Name of the layer.
        scale_d_ratio: scale_d of the second record over that of the first; ``None`` for a layer
            that only one of them has.
        offset_d_difference: offset_d of the second minus that of the first.
        scale_w_ratios: Smallest and largest ratio of the weight's scales; ``None`` without weight,
            or when the numbers of scales differ.
        reason: What differs; ``""`` when nothing does.
    """

    name: str
    scale_d_ratio: float | None
    offset_d_difference: int | None
    scale_w_ratios: tuple[float, float] | None
    reason: str

    @property
    def differs(self) -> bool:
        """Whether anything is different by more than the tolerance."""
        return bool(self.reason)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**attrs.asdict(self), "differs": self.differs}

    def cells(self) -> tuple[str, ...]:
        """Text, with the cells that `COMPARISON_HEADER` names."""
        ratios = self.scale_w_ratios
        ends = () if ratios is None else dict.fromkeys(f"{ratio:.6g}" for ratio in ratios)
        return (
            self.name,
            "-" if self.scale_d_ratio is None else f"{self.scale_d_ratio:.6g}",
            "-" if self.offset_d_difference is None else f"{self.offset_d_difference:+d}",
            " to ".join(ends) or "-",
            self.reason,
        )


def compare_records(
    first: Record, second: Record, tolerance: float = 0.0
) -> tuple[LayerComparison, ...]:
    """Every layer of either record, those of `first` first, and then every value.

    Args:
        first: A record.
        second: The record that is compared with it.
        tolerance: Largest |ratio - 1| of a scale that counts as no difference; an offset always
            counts.

    Raises:
        RangeError: `tolerance` is negative or NaN.
    """
    if not tolerance >= 0:
        raise RangeError(f"tolerance ({tolerance}) must be 0 or more")
    one, other = _entries(first), _entries(second)
    return tuple(
        _compare(name, one.get(name), other.get(name), tolerance)
        for name in dict.fromkeys([*first, *second, *first.value_grids, *second.value_grids])
    )


def _entries(record: Record) -> dict[str, LayerFactors]:
    values = record.value_grids.items()
    return {**record, **{name: LayerFactors(v.scale, v.zero_point) for name, v in values}}


def _compare(
    name: str, first: LayerFactors | None, second: LayerFactors | None, tolerance: float
) -> LayerComparison:
    if first is None or second is None:
        which = "second" if first is None else "first"
        return LayerComparison(name, None, None, None, f"only in the {which}")
    scale_d = _ratio(first.scale_d, second.scale_d)
    offset = second.offset_d - first.offset_d
    reasons = []
    if _beyond(scale_d, tolerance):
        reasons.append("scale_d")
    if offset:
        reasons.append("offset_d")
    ratios = _weight_ratios(first.scale_w, second.scale_w)
    if ratios is None and not (first.scale_w is None and second.scale_w is None):
        counts = (0 if s is None else len(s) for s in (first.scale_w, second.scale_w))
        reasons.append("scale_w ({} and {} scales)".format(*counts))
    elif ratios is not None and any(_beyond(ratio, tolerance) for ratio in ratios):
        reasons.append("scale_w")
    if (first.dst_type or "INT8") != (second.dst_type or "INT8"):
        reasons.append(f"dst_type ({first.dst_type} and {second.dst_type})")
    if bool(first.skip_fusion) != bool(second.skip_fusion):
        reasons.append(f"skip_fusion ({first.skip_fusion} and {second.skip_fusion})")
    if not np.array_equal(_or_ones(first.balance), _or_ones(second.balance)):
        reasons.append("tensor_balance_factor")
    if not np.array_equal(_or_zeros(first.bias_correction), _or_zeros(second.bias_correction)):
        reasons.append("bias")
    return LayerComparison(name, scale_d, offset, ratios, listed(reasons, nothing=""))


def _or_ones(balance: Float32Array | None) -> Float32Array:
    """One number where all are ones, as `None` means."""
    if balance is None or np.all(balance == 1):
        return np.ones(1, np.float32)
    return balance


def _or_zeros(correction: Float32Array | None) -> Float32Array:
    """One number where all are zeros, as `None` means."""
    if correction is None or not np.any(correction):
        return np.zeros(1, np.float32)
    return correction


def _ratio(first: float, second: float) -> float | None:
    """second / first; ``None`` where that is no finite number."""
    with np.errstate(all="ignore"):
        ratio = float(np.float64(second) / np.float64(first)) if first != second else 1.0
    return ratio if np.isfinite(ratio) else None


def _weight_ratios(
    first: Float32Array | None, second: Float32Array | None
) -> tuple[float, float] | None:
    if first is None or second is None or len(first) != len(second):
        return None
    ratios = [_ratio(float(a), float(b)) for a, b in zip(first, second, strict=True)]
    finite = [ratio for ratio in ratios if ratio is not None]
    return (min(finite), max(finite)) if len(finite) == len(ratios) else None


def _beyond(ratio: float | None, tolerance: float) -> bool:
    return ratio is None or abs(ratio - 1) > tolerance
