"""A record as a table for people."""

from __future__ import annotations

from typing import Any

import attrs

from graphquant_core.record.factors import LayerFactors, Record

SUMMARY_HEADER = ("layer", "scale_d", "offset_d", "range", "weight scales", "scale_w")


@attrs.frozen
class LayerSummary:
    """One layer of a record, or one value that is rounded where it arises.

    Attributes:
        name: Name of the layer, or of the value: ``"add:0"``.
        scale_d: Scale of its activation.
        offset_d: Integer that stands for 0.0.
        minimum: Value of the lowest integer, -128.
        maximum: Value of the highest integer, 127.
        weight_scales: Number of scales of its weight, 0 without weight.
        smallest_scale_w: The smallest of them.
        largest_scale_w: The largest of them.
    """

    name: str
    scale_d: float
    offset_d: int
    minimum: float
    maximum: float
    weight_scales: int
    smallest_scale_w: float | None
    largest_scale_w: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return attrs.asdict(self)

    def cells(self) -> tuple[str, ...]:
        """Text, with the cells that `SUMMARY_HEADER` names."""
        scales = "-"
        if self.smallest_scale_w is not None and self.largest_scale_w is not None:
            ends = dict.fromkeys(
                f"{end:.6g}" for end in (self.smallest_scale_w, self.largest_scale_w)
            )
            scales = " to ".join(ends)
        return (
            self.name,
            f"{self.scale_d:.6g}",
            str(self.offset_d),
            f"{self.minimum:.4g} to {self.maximum:.4g}",
            str(self.weight_scales or "-"),
            scales,
        )


def summarize_record(record: Record) -> list[LayerSummary]:
    """One summary for each layer of `record` and then for each value, in its order."""
    values = {
        name: LayerFactors(grid.scale, grid.zero_point) for name, grid in record.value_grids.items()
    }
    return [_summary(name, factors) for name, factors in {**record, **values}.items()]


def _summary(name: str, factors: LayerFactors) -> LayerSummary:
    scale_w = factors.scale_w
    return LayerSummary(
        name=name,
        scale_d=factors.scale_d,
        offset_d=factors.offset_d,
        minimum=factors.activation_grid.low,
        maximum=factors.activation_grid.high,
        weight_scales=0 if scale_w is None else len(scale_w),
        smallest_scale_w=None if scale_w is None else float(scale_w.min()),
        largest_scale_w=None if scale_w is None else float(scale_w.max()),
    )
