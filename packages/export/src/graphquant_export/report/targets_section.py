"""What each target computes, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphquant_core.listing import choices
from graphquant_export.report import charts
from graphquant_export.report.elements import Element, broken, element
from graphquant_export.report.text import decibels, noise, number, percent, size, steps
from graphquant_export.verification.rows import said_near_ties

Data = Mapping[str, Any]
MOST_PROBLEMS = 3


def verdicts(data: Data) -> Element:
    """A card for each target: within the limits or not, and where it parts from the reference."""
    return element(
        "div", *(_card(target, data["model"]) for target in data["targets"]), class_="cards"
    )


def _card(target: Data, model: Data) -> Element:
    problems = target["problems"]
    verdict = "✓ within the limits" if target["ok"] else "✗ beyond the limits"
    lines = [
        element("h3", target["label"]),
        element("p", element("strong", verdict), class_="good" if target["ok"] else "bad"),
        element("p", f"layers: {executions(target)}", class_="note"),
    ]
    lines += [element("p", _in_short(out), class_="note name") for out in target["outputs"][:1]]
    if target["first_divergence"]:
        name = element("strong", *broken(target["first_divergence"]), class_="name")
        lines.append(element("p", "They part at layer ", name, "."))
    elif target["most_different"]:
        name = element("span", *broken(target["most_different"]), class_="name")
        layers = {layer["layer"]: layer for layer in target["layers"]}
        mean = steps(layers[target["most_different"]]["own"]["mean"])
        said = f"largest own difference: {mean} steps on average, "
        lines.append(element("p", said, name, class_="note"))
    if problems:
        shown = [element("li", *broken(problem)) for problem in problems[:MOST_PROBLEMS]]
        more = len(problems) - len(shown)
        if more:
            shown.append(element("li", f"{more} more: see the table of layers"))
        lines.append(element("ul", *shown))
    lines += [element("p", said, class_="note") for said in target["carried"]]
    main = target["files"][0]
    share = f"{main['size'] / model['size']:.0%} of the frozen float graph"
    lines.append(element("p", f"{main['name']}: {size(main['size'])}, {share}", class_="note name"))
    return element("div", *lines, class_="card")


def _in_short(output: Data) -> str:
    found, title = output["reference"], "integer reference"
    if found is None:
        found, title = output["simulation"], "simulation"
    said = f"{output['output']}: "
    if output["classes"] and found["agreement"] is not None:
        ties = f" ({said_near_ties(output['near_ties'])})" if output["near_ties"] else ""
        said += f"top-1 {percent(found['agreement'])} like the {title}{ties}, "
    if output["accuracy"] is not None:
        said += f"accuracy {percent(output['accuracy']['runtime'])}, "
    return said + f"SQNR {noise(found)}"


def executions(target: Data) -> str:
    """How many layers have which execution: "6 int8, 1 float"."""
    counts = Counter(row["execution"] for row in target["executions"])
    return choices((f"{count} {name}" for name, count in counts.most_common()), "no layers")


def side_by_side(data: Data) -> Element:
    """A table with a column for each target."""
    targets = data["targets"]
    head = element(
        "tr",
        element("th", "", class_="name"),
        *(element("th", target["label"], class_="number", scope="col") for target in targets),
    )
    groups = [rows for name in data["model"]["outputs"] for rows in _output_rows(name, targets)]
    groups.append(_rows("Layers", [("computed as", executions)], targets))
    made = element("table", element("thead", head), *groups)
    return element("div", made, class_="scroll narrow", tabindex="0")


Value = Callable[[Data], str]

_BESIDE = (
    ("integer reference", "reference"),
    ("float model", "float_model"),
    ("simulation", "simulation"),
)
_NOTHING = {
    **dict.fromkeys(("reference", "simulation", "float_model", "accuracy")),
    "classes": False,
    "near_ties": 0,
}


def _output_rows(name: str, targets: Sequence[Data]) -> list[Element]:
    found = []
    for title, key in _BESIDE:
        if any(_output(target, name)[key] is not None for target in targets):
            rows = _comparison_rows(name, key)
            found.append(_rows(f"{name} beside the {title}", rows, targets))
    if any(_output(target, name)["accuracy"] is not None for target in targets):
        found.append(_rows(f"{name}: accuracy", _accuracy_rows(name), targets))
    return found


def _output(target: Data, name: str) -> Data:
    found = next((out for out in target["outputs"] if out["output"] == name), _NOTHING)
    # The graph that was exported may be the float model itself.
    same = found["simulation"] == found["float_model"]
    return {**found, "simulation": None} if same else found


def _comparison_rows(name: str, key: str) -> list[tuple[str, Value]]:
    def of(read: Callable[[Data], str]) -> Value:
        def value(target: Data) -> str:
            found = _output(target, name)[key]
            return "–" if found is None else read(found)

        return value

    return [
        ("same top-1 class", _same_class(name, key)),
        ("mean difference, in steps", of(lambda found: steps(found["mean"]))),
        ("largest difference, in steps", of(lambda found: steps(found["largest"]))),
        ("SQNR", of(noise)),
        ("one step", of(lambda found: number(found["step"]))),
        ("step taken from", of(lambda found: found["step_source"])),
    ]


def _same_class(name: str, key: str) -> Value:
    def value(target: Data) -> str:
        output = _output(target, name)
        shown = output["classes"] and output[key] is not None
        if not shown:
            return "–"
        judged = key == ("reference" if output["reference"] is not None else "simulation")
        ties = f" ({said_near_ties(output['near_ties'])})" if judged and output["near_ties"] else ""
        return percent(output[key]["agreement"]) + ties

    return value


def _accuracy_rows(name: str) -> list[tuple[str, Value]]:
    def of(key: str) -> Value:
        def value(target: Data) -> str:
            found = _output(target, name)["accuracy"]
            return "–" if found is None else percent(found[key])

        return value

    return [
        ("in the runtime", of("runtime")),
        ("of the integer reference", of("reference")),
        ("of the simulation", of("simulation")),
    ]


def _rows(title: str, rows: Sequence[tuple[str, Value]], targets: Sequence[Data]) -> Element:
    group = element(
        "tr", element("th", *broken(title), class_="group", colspan=str(len(targets) + 1))
    )
    return element(
        "tbody",
        group,
        *(
            element(
                "tr",
                element("th", label, class_="name", scope="row"),
                *(element("td", value(target), class_="number") for target in targets),
            )
            for label, value in rows
        ),
    )


def sizes(data: Data) -> Element:
    """Bars: the frozen float graph, and every file of every artifact."""
    whole = data["model"]["size"]
    rows: list[tuple[str, float | None, str, str]] = [
        ("frozen float graph", float(whole), size(whole), "other")
    ]
    rows += [
        (
            f"{target['label']}: {file['name']}",
            float(file["size"]),
            size(file["size"]),
            "other" if index else "",
        )
        for target in data["targets"]
        for index, file in enumerate(target["files"])
    ]
    return charts.bars(rows)


def noise_chart(data: Data) -> Element:
    """Bars: the SQNR of each layer's result in the simulation beside the float model."""
    return charts.bars(
        [(row["name"], row["sqnr"], decibels(row["sqnr"]), "") for row in data["layers"]]
    )
