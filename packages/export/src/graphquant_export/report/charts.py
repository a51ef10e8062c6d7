"""Charts as inline SVG, without text of their own: it would shrink with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from graphquant_export.report.elements import Element, broken, element

WIDTH, HEIGHT = 100.0, 40.0


def bars(rows: Sequence[tuple[str, float | None, str, str]]) -> Element:
    """A list of bars from 0 to the largest value: (label, value, text, CSS class) each."""
    longest = max((value for _, value, _, _ in rows if value is not None), default=0.0)
    cells: list[Element] = []
    for label, value, text, css in rows:
        share = 0.0 if value is None or longest <= 0 else max(value, 0.0) / longest
        bar = element("rect", x="0", y="0", height="100%", width=f"{100 * share:.2f}%")
        cells += [
            element("span", *broken(label), class_="name"),
            element("span", element("svg", bar, aria_hidden="true"), class_=css),
            element("span", text, class_="value"),
        ]
    return element("div", *cells, class_="bars")


def histogram(found: Mapping[str, Any], label: str) -> Element:
    """Counts on a logarithmic scale, the ends of the clip range, and what lies outside of it."""
    low, high = found["low"], found["high"]

    def x(value: float) -> float:
        return WIDTH * (value - low) / (high - low)

    inside = (x(found["clip_low"]), x(found["clip_high"]))
    shades = [(0.0, inside[0]), (inside[1], WIDTH)]
    return element(
        "svg",
        *(_shade(*ends) for ends in shades if ends[1] - ends[0] > 0.01),
        element("path", d=_outline(found["counts"]), class_="counts"),
        *(_line(position) for position in inside),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def _outline(counts: Sequence[int]) -> str:
    highest = math.log1p(max(counts))
    width = WIDTH / len(counts)
    steps = [f"M0 {HEIGHT:g}"]
    for index, count in enumerate(counts):
        # A bar of its own height even for one value among millions.
        height = HEIGHT * 0.95 * math.log1p(count) / highest if highest else 0.0
        steps.append(f"V{HEIGHT - height:.2f}H{(index + 1) * width:.2f}")
    return "".join([*steps, f"V{HEIGHT:g}Z"])


def _shade(start: float, stop: float) -> Element:
    return element(
        "rect",
        x=f"{start:.2f}",
        y="0",
        width=f"{stop - start:.2f}",
        height=f"{HEIGHT:g}",
        class_="clipped",
    )


def _line(x: float) -> Element:
    return element(
        "line",
        x1=f"{x:.2f}",
        x2=f"{x:.2f}",
        y1="0",
        y2=f"{HEIGHT:g}",
        class_="clip",
        vector_effect="non-scaling-stroke",
    )


def curve(
    line: Sequence[tuple[float, float]], points: Sequence[tuple[float, float, str]], label: str
) -> Element:
    """A line through `line`, and `points` of (x, y, CSS class), from 5 to 95 % of the size."""
    places = [*line, *((x, y) for x, y, _ in points)]
    left, bottom = (min(place[axis] for place in places) for axis in (0, 1))
    width, height = (
        max(place[axis] for place in places) - start or 1.0
        for axis, start in enumerate((left, bottom))
    )

    def at(x: float, y: float) -> str:
        across, up = (x - left) / width, (y - bottom) / height
        return f"{WIDTH * (0.05 + 0.9 * across):.2f} {HEIGHT * (0.95 - 0.9 * up):.2f}"

    def dot(x: float, y: float, css: str) -> Element:
        # A line without length has round ends, which stay round however the chart is stretched.
        path = f"M{at(x, y)}h0"
        return element("path", d=path, class_=f"dot {css}", vector_effect="non-scaling-stroke")

    joined = "L".join(at(x, y) for x, y in line)
    return element(
        "svg",
        element("path", d=f"M{joined}", class_="line", vector_effect="non-scaling-stroke"),
        *(dot(x, y, "") for x, y in line),
        *(dot(*point) for point in points),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
