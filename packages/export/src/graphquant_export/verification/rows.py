"""Rows of text about outputs and layers, for tables."""

from __future__ import annotations

from collections.abc import Iterable

from graphquant_export.verification.checks import LayerCheck, OutputCheck
from graphquant_export.verification.comparison import Comparison

SUMMARY_HEADER = (
    "output", "compared with", "same top-1", "mean difference", "largest", "step", "SQNR",
)  # fmt: skip
LAYER_HEADER = (
    "layer", "type", "execution", "own mean", "own largest", "mean", "largest", "SQNR", "why",
)  # fmt: skip


def summary_rows(outputs: Iterable[OutputCheck]) -> list[tuple[str, ...]]:
    """Rows with the cells that `SUMMARY_HEADER` names."""
    rows: list[tuple[str, ...]] = []
    for output in outputs:
        for name, found in output.beside:
            shown = output.classes and found.agreement is not None
            same = f"{found.agreement:.2%}" if shown else "-"
            if found is output.judged and output.near_ties:
                same += f" ({said_near_ties(output.near_ties)})"
            step = f"{found.step:.4g} ({found.step_source})"
            cells = (*difference_cells(found)[:2], step, difference_cells(found)[2])
            rows.append((output.output, name, same, *cells))
    return rows


def layer_rows(layers: Iterable[LayerCheck]) -> list[tuple[str, ...]]:
    """Rows with the cells that `LAYER_HEADER` names."""
    return [
        (
            layer.layer,
            layer.op_type,
            layer.execution,
            *difference_cells(layer.own)[:2],
            *difference_cells(layer.found),
            layer.reason or "",
        )
        for layer in layers
    ]


def said_near_ties(count: int) -> str:
    """How many rows that differ are near ties, as text."""
    return f"{count} near tie{'s' if count != 1 else ''}"


def difference_cells(found: Comparison | None) -> tuple[str, str, str]:
    """(mean, largest, SQNR) as text."""
    if found is None:
        return ("-", "-", "-")
    identical = found.largest == 0 and not found.not_finite
    sqnr = "-" if found.sqnr is None else f"{found.sqnr:.1f} dB"
    return (
        f"{found.mean:.3g}",
        f"{found.largest:.3g}",
        "∞" if identical and found.sqnr is None else sqnr,
    )
