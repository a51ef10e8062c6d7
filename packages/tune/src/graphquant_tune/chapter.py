"""What tuning found out, as a chapter of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from graphquant_export.report import Chapter, Section, charts
from graphquant_export.report.elements import Element, element
from graphquant_export.report.table import Cell, Column, table
from graphquant_export.report.text import number, percent, size
from graphquant_tune.result import TunedModel

Data = Mapping[str, Any]

QUALITY_NOTE = (
    "Beside the float model, on samples. SQNR is that of the worst output, 10 log10(Σ t² / "
    "Σ (t - s)²). The distance is the divergence of class scores, or the relative squared error of "
    "other outputs."
)
CURVE_NOTE = (
    "Before training, of weights alone rounded to the nearest: what GPTQ and training add is the "
    "way from the chosen point to the tuned model. Sizes between files of one width are estimated."
)
BITS_NOTE = "Bits of each layer's weight; layers without a bar stay float."
COST_NOTE = (
    "How far the outputs move when this layer alone has so many bits and all others are float: 0 "
    "is no change, ∞ answers that are no numbers."
)


def report_chapter(found: TunedModel) -> Chapter:
    """Bits by layer, what each layer costs, size against quality, before and after.

    For ``graphquant_export.write_report(..., chapters=[report_chapter(found)])``. Size against
    quality is there when `tune` was called with ``curve=True``.

    Args:
        found: What `tune` returned.
    """
    return Chapter("tuning", _finite(found.summary()), _sections)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list) else value


def _sections(data: Data) -> list[Section]:
    found = [Section("Before and after", QUALITY_NOTE, _qualities(data))]
    if data["curve"]:
        drawn = element("div", _drawn(data), _curve_table(data))
        found.append(Section("Size against quality", CURVE_NOTE, drawn))
    found.append(Section("Bits by layer", BITS_NOTE, _bits(data)))
    if any(layer.get("distance") for layer in [*data["layers"], *data["float"]]):
        found.append(Section("What each layer costs", COST_NOTE, _costs(data)))
    return found


def _qualities(data: Data) -> Element:
    columns = [Column("", css="name"), Column("SQNR", numeric=True)]
    columns += [Column("same answers", numeric=True), Column("distance", numeric=True)]
    training = data["training"]
    tuned = f"tuned, {training['steps']} steps in {training['seconds']:.0f} s"
    rows = [("without training", data["before"]), (tuned, data["after"])]
    return element(
        "div", table(columns, ([name, *_quality(found)] for name, found in rows)), class_="narrow"
    )


def _quality(found: Data) -> list[Cell]:
    return [
        (_decibels(found["sqnr"]), found["sqnr"]),
        (percent(found["agreement"]), found["agreement"]),
        (number(found["distance"]), found["distance"]),
    ]


def _decibels(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} dB"


def _drawn(data: Data) -> Element:
    """The curve, whose ends are said beside it, since text in it would be stretched."""
    chosen = next(point for point in data["curve"] if point["chosen"])
    points = [
        (chosen["bytes"], chosen["quality"]["sqnr"], "chosen"),
        (chosen["bytes"], data["after"]["sqnr"], "tuned"),
    ]
    places = [(x, y, css) for x, y, css in points if y is not None]
    line = [(p["bytes"], p["quality"]["sqnr"]) for p in data["curve"]]
    line = [(x, y) for x, y in line if y is not None]
    heights = [y for _, y in line] + [y for _, y, _ in places]
    if not line:
        return element("p", "no way to quantise it gives answers that are numbers", class_="note")
    ends = [size(min(x for x, _ in line)), size(max(x for x, _ in line))]
    upright = [_decibels(max(heights)), _decibels(min(heights))]
    caption = element(
        "figcaption",
        element("span", "●", class_="chosen-key"),
        f" chosen: {chosen['said']}, {size(chosen['bytes'])}; ",
        element("span", "●", class_="tuned-key"),
        f" tuned: {_decibels(data['after']['sqnr'])}",
    )
    return element(
        "figure",
        element("div", *(element("span", end) for end in upright), class_="ends upright"),
        charts.curve(line, places, "SQNR of the outputs by the size of the file"),
        element("span"),
        element("div", *(element("span", end) for end in ends), class_="ends"),
        caption,
        class_="curve",
    )


def _curve_table(data: Data) -> Element:
    columns = [
        Column("way", css="name"),
        Column("size", numeric=True),
        Column("SQNR", numeric=True),
    ]
    columns += [Column("same answers", numeric=True), Column("distance", numeric=True)]
    return table(
        columns,
        (
            [
                point["said"] + (" (chosen)" if point["chosen"] else ""),
                (size(point["bytes"]), point["bytes"]),
                *_quality(point["quality"]),
            ]
            for point in data["curve"]
        ),
    )


def _bits(data: Data) -> Element:
    rows: list[tuple[str, float | None, str, str]] = [
        (layer["name"], layer["bits"], f"{layer['bits']} bits", "") for layer in data["layers"]
    ]
    rows += [(layer["name"], None, f"float: {layer['reason']}", "") for layer in data["float"]]
    return charts.bars(rows)


def _costs(data: Data) -> Element:
    layers = [layer for layer in [*data["layers"], *data["float"]] if layer.get("distance")]
    widths = sorted({int(bits) for layer in layers for bits in layer["distance"]}, reverse=True)
    columns = [Column("layer", css="name"), Column("given", numeric=True)]
    columns += [Column(f"{bits} bits", numeric=True, group="distance") for bits in widths]
    return table(columns, (_cost_row(layer, widths) for layer in layers))


def _cost_row(layer: Data, widths: list[int]) -> list[Cell]:
    bits = layer.get("bits")
    found = layer["distance"]
    cells: list[Cell] = [layer["name"], ("float" if bits is None else str(bits), bits)]
    for key in map(str, widths):
        unknown = "∞" if key in found else "–"
        value = found.get(key)
        cells.append((unknown if value is None else number(value), value))
    return cells
