"""Everything a report says, as plain data for JSON; the page is made of it and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from graphquant_core.layer import Layer, Skip
from graphquant_core.listing import sentences
from graphquant_export.verification import Verification

if TYPE_CHECKING:
    from graphquant_export.report.facts import LayerFacts, ModelFacts

VERSION = 1


def report_data(
    facts: ModelFacts, verifications: Sequence[Verification], title: str
) -> dict[str, Any]:
    """`facts` and `verifications` joined by layer.

    Returns:
        ``"title"``; ``"model"``: outputs, size and samples; ``"plan"``: a row for each op that a
        layer handler knows, with what each target does; ``"layers"``: a row for each quantised
        layer; ``"targets"``: each verification.
    """
    labels = _labels(verifications)
    return {
        "version": VERSION,
        "title": title,
        "model": {
            "outputs": list(facts.outputs),
            "size": facts.size,
            "samples": facts.samples,
        },
        "plan": _plan_rows(facts, dict(zip(labels, verifications, strict=True))),
        "layers": [
            _layer_row(layer, dict(zip(labels, verifications, strict=True)))
            for layer in facts.layers
        ],
        "targets": [
            {"label": label, **found.to_dict()}
            for label, found in zip(labels, verifications, strict=True)
        ],
    }


def _labels(verifications: Sequence[Verification]) -> list[str]:
    """A name for each: that of its target, numbered where a target occurs again."""
    labels: list[str] = []
    for found in verifications:
        count = sum(found.target == other.target for other in verifications[: len(labels)])
        labels.append(f"{found.target} ({count + 1})" if count else found.target)
    return labels


def _plan_rows(
    facts: ModelFacts, verifications: Mapping[str, Verification]
) -> list[dict[str, Any]]:
    quantized = {layer.name for layer in facts.layers}
    executions = {
        label: {row.layer: row for row in found.executions}
        for label, found in verifications.items()
    }
    return [
        {
            "name": row.name,
            "op_type": row.op_type,
            "decision": _decision(row, quantized),
            "channels": row.output_channels if isinstance(row, Layer) else None,
            "why": _why(row, quantized),
            "targets": {
                label: attrs.asdict(rows[row.name]) if row.name in rows else None
                for label, rows in executions.items()
            },
        }
        for row in facts.plan.rows
    ]


def _decision(row: Layer | Skip, quantized: set[str]) -> str:
    if row.name in quantized:
        return "quantise"
    return "skip" if isinstance(row, Skip) else "float"


def _why(row: Layer | Skip, quantized: set[str]) -> str:
    if isinstance(row, Skip):
        return row.reason
    advice = sentences(row.advice)
    return advice if row.name in quantized else "the record has no entry for it"


def _layer_row(layer: LayerFacts, verifications: Mapping[str, Verification]) -> dict[str, Any]:
    return {
        **attrs.asdict(layer),
        "targets": {label: _at_target(layer, found) for label, found in verifications.items()},
    }


def _at_target(layer: LayerFacts, verification: Verification) -> dict[str, Any]:
    row = next((row for row in verification.executions if row.layer == layer.name), None)
    check = next((check for check in verification.layers if check.layer == layer.name), None)
    return {
        "execution": "missing" if row is None else row.execution,
        "reason": None if row is None else row.reason,
        "own": None if check is None or check.own is None else attrs.asdict(check.own),
        "found": None if check is None or check.found is None else attrs.asdict(check.found),
    }
