"""The page: sections around the data of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from graphquant_core.listing import listed, sentences
from graphquant_export.report import layers_section, targets_section
from graphquant_export.report.chapter import Chapter, Section
from graphquant_export.report.elements import Element, as_html, element

Data = Mapping[str, Any]

TARGETS_NOTE = (
    "The artifact's file in its own runtime, beside the integer reference (the graph of integers "
    "with exact sums) and the simulation (the frozen graph with its fake quantisers, in "
    "TensorFlow)."
)
NOISE_NOTE = (
    "Signal to quantisation noise of each layer's result: the deployed numbers beside the float "
    "model without any quantiser. Noise adds up from layer to layer; higher is better."
)
LAYERS_NOTE = (
    "Scales say what one step of a grid stands for; codes, how many of a weight grid's 255 "
    "integers occur. SQNR is that of the chart above."
)
RUNTIME_NOTE = (
    "How each file computes the layer. Its own difference, in steps, is beside the exact result "
    "for what the runtime itself returned for the layers before; the SQNR is of the whole "
    "difference, with what those contributed."
)
SIZES_NOTE = "The first file of a target is what is deployed; grey ones lie beside it."
VALUES_NOTE = (
    "Counts on a logarithmic scale. Dashed lines are the ends of what the quantiser can "
    "represent; what lies in the shaded part beyond them is clipped."
)
PLAN_NOTE = (
    "Every op that a layer handler knows: what was decided, and how each target computes it, as "
    "its file says."
)
STEPS_NOTE = (
    "A step is that of the artifact's own grid where the value is an integer in it; both sides "
    "are then compared as codes. Where the artifact holds a float, a step is the reference's "
    "range, 0 included, divided by 255. SQNR is 10 log10(sum of squares of the reference / sum of "
    "squares of the difference); ∞ means no difference at all. The float model is on no grid. A "
    "near tie is a row of class scores to which a difference within the limits of other outputs is "
    "enough to give another class, where these classes are not off systematically."
)


def render_page(data: Data, chapters: Sequence[Chapter] = ()) -> str:
    """The page that shows `data`, as `report_data` makes it: HTML that refers to nothing else.

    Args:
        data: The data.
        chapters: What other packages show of it, each of ``data[chapter.key]``.
    """
    style = element("style")
    style.text = _own("page.css")
    script = element("script")
    script.text = _own("page.js")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", data["title"]),
        style,
    )
    added = [section for one in chapters for section in one.sections(data[one.key])]
    verdicts = Section("", "", targets_section.verdicts(data))
    shown = [part.as_element() for part in (verdicts, *added, *_sections(data))]
    main = element("main", *_header(data), *shown, *_definitions(data))
    return as_html(element("html", head, element("body", main, script), lang="en"))


def _own(name: str) -> str:
    return files("graphquant_export.report").joinpath(name).read_text(encoding="utf-8")


def _header(data: Data) -> list[Element]:
    plan, model = data["plan"], data["model"]
    quantized = len(data["layers"])
    outputs = listed(model["outputs"])
    said = (
        f"{quantized} of {len(plan)} layers quantised · {model['samples']} samples · "
        f"output{'s' if len(model['outputs']) > 1 else ''} {outputs}"
    )
    return [element("h1", data["title"]), element("p", said, class_="note name")]


def _sections(data: Data) -> list[Section]:
    sections = [
        Section("Layers", LAYERS_NOTE, layers_section.layer_table(data)),
        Section("Values and clip ranges", VALUES_NOTE, layers_section.histograms(data)),
        Section("Plan", PLAN_NOTE, layers_section.plan_table(data)),
    ]
    if any(row["sqnr"] is not None for row in data["layers"]):
        chart = targets_section.noise_chart(data)
        sections.insert(0, Section("Quantisation noise by layer", NOISE_NOTE, chart))
    if data["targets"]:
        runtimes = layers_section.runtime_table(data)
        sections.insert(-2, Section("Layers in each runtime", RUNTIME_NOTE, runtimes))
        sections = [
            Section("Targets side by side", TARGETS_NOTE, targets_section.side_by_side(data)),
            Section("Sizes", SIZES_NOTE, targets_section.sizes(data)),
            *sections,
        ]
    return sections


def _definitions(data: Data) -> list[Element]:
    said: dict[str, list[str]] = {}
    for target in data["targets"]:
        limits = target["limits"]
        sentence = (
            f"top-1 agreement of class scores {limits['agreement']:.2%} or more, near ties counted "
            f"as equal, SQNR of other "
            f"outputs {limits['sqnr']:g} dB, mean difference of an output {limits['mean']:g} steps "
            f"or less, of a layer's own {limits['own_mean']:g}, its "
            f"largest {limits['largest']:g} but for one value in 10,000, beside the "
            f"{target['layer_reference']}"
        )
        said.setdefault(sentence, []).append(target["label"])
    limits = [f"{listed(labels)}: {sentence}" for sentence, labels in said.items()]
    if not limits:
        return []
    return [
        element("h2", "How to read the numbers"),
        element("p", STEPS_NOTE, class_="note"),
        element("p", f"Limits. {sentences(limits)}.", class_="note"),
    ]
