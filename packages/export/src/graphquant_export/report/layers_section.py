"""The plan, and each quantised layer's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphquant_core.listing import sentences
from graphquant_export.report import charts
from graphquant_export.report.elements import Element, broken, element
from graphquant_export.report.table import Cell, Column, table
from graphquant_export.report.text import noise, number, percent, steps

Data = Mapping[str, Any]


def plan_table(data: Data) -> Element:
    """Every op that a layer handler knows, what was decided, and what each target does."""
    labels = [target["label"] for target in data["targets"]]
    columns = [
        Column("op", css="name"),
        Column("type", css="type"),
        Column("decision"),
        Column("channels", numeric=True),
        *(Column(label) for label in labels),
        Column("why or advice", css="why name"),
    ]
    return table(columns, (_plan_row(row, labels) for row in data["plan"]))


def _plan_row(row: Data, labels: list[str]) -> list[Cell]:
    channels = row["channels"]
    at_targets = [(label, row["targets"][label]) for label in labels]
    reasons = [row["why"]] + [
        f"{label}: {at['reason']}"
        for label, at in at_targets
        if at is not None and at["reason"] and at["reason"] != row["why"]
    ]
    return [
        row["name"],
        row["op_type"],
        row["decision"],
        ("–" if channels is None else str(channels), channels),
        *("–" if at is None else at["execution"] for _, at in at_targets),
        sentences(filter(None, reasons)),
    ]


def layer_table(data: Data) -> Element:
    """Scales, offsets and quantisation noise of each quantised layer."""
    columns = [
        Column("layer", css="name"),
        Column("type", css="type"),
        Column("scale", numeric=True, css="first", group="activation"),
        Column("offset", numeric=True, group="activation"),
        Column("clipped", numeric=True, group="activation"),
        Column("scales", numeric=True, css="first", group="weight"),
        Column("smallest", numeric=True, group="weight"),
        Column("largest", numeric=True, group="weight"),
        Column("codes", numeric=True, group="weight"),
        Column("dB", numeric=True, css="first", group="SQNR"),
    ]
    return table(columns, map(_layer_row, data["layers"]))


def _layer_row(row: Data) -> list[Cell]:
    activation, weight = row["activation"], row["weight"]
    clipped = None if activation is None else activation["clipped"]
    cells: list[Cell] = [
        row["name"],
        row["op_type"],
        _number(row["scale_d"]),
        ("–" if row["offset_d"] is None else str(row["offset_d"]), row["offset_d"]),
        (percent(clipped), clipped),
    ]
    if weight is None or not weight["scales"]:
        cells += [("–", None)] * 4
    else:
        cells += [
            (str(weight["scales"]), weight["scales"]),
            _number(weight["smallest_scale"]),
            _number(weight["largest_scale"]),
            (str(weight["codes_used"]), weight["codes_used"]),
        ]
    return [*cells, ("–" if row["sqnr"] is None else f"{row['sqnr']:.1f}", row["sqnr"])]


def runtime_table(data: Data) -> Element:
    """How each target computes each quantised layer, and how far from the exact result."""
    columns = [Column("layer", css="name")]
    for target in data["targets"]:
        group = target["label"]
        columns.append(Column("as", css="first", group=group))
        if target["layers"]:
            columns += [
                Column("own mean", numeric=True, group=group),
                Column("own largest", numeric=True, group=group),
                Column("SQNR", numeric=True, group=group),
            ]
    compared = {target["label"]: bool(target["layers"]) for target in data["targets"]}
    return table(columns, (_runtime_row(row, compared) for row in data["layers"]))


def _runtime_row(row: Data, compared: Mapping[str, bool]) -> list[Cell]:
    cells: list[Cell] = [row["name"]]
    for label, differences in compared.items():
        at = row["targets"][label]
        cells.append(at["execution"])
        if differences:
            cells += _differences(at)
    return cells


def _differences(at: Data) -> list[Cell]:
    own, whole = at["own"], at["found"]
    if own is None or whole is None:
        return [("–", None)] * 3
    return [
        (steps(own["mean"]), own["mean"]),
        (steps(own["largest"]), own["largest"]),
        (noise(whole), whole["sqnr"]),
    ]


def _number(value: float | None) -> Cell:
    return (number(value), value)


def histograms(data: Data) -> Element:
    """A card for each layer with what goes into it and with its weight."""
    return element("div", *(_card(row) for row in data["layers"]), class_="cards")


def _card(row: Data) -> Element:
    figures = []
    if row["activation"] is not None:
        figures.append(_figure("activation", row["name"], row["activation"]))
    if row["weight"] is not None:
        figures.append(_figure("weight", row["name"], row["weight"]["histogram"]))
    return element("div", element("h3", *broken(row["name"])), *figures, class_="card")


def _figure(kind: str, layer: str, found: Data) -> Element:
    caption = (
        f"{kind}: {number(found['smallest'])} to {number(found['largest'])}; "
        f"clip range {number(found['clip_low'])} to {number(found['clip_high'])}"
    )
    if found["clipped"]:
        caption += f"; {percent(found['clipped'])} clipped"
    return element(
        "figure",
        charts.histogram(found, f"Histogram of the {kind} of {layer}"),
        element("figcaption", caption),
    )
