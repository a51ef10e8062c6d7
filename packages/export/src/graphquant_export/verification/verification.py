"""What a verification found, as values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from graphquant_core.exceptions import ModelFileError
from graphquant_core.runtime import LayerExecution
from graphquant_export.verification.comparison import Comparison
from graphquant_export.verification.limits import Limits

SUMMARY_HEADER = (
    "output", "compared with", "same top-1", "mean difference", "largest", "step", "SQNR",
)  # fmt: skip
LAYER_HEADER = (
    "layer", "type", "execution", "own mean", "own largest", "mean", "largest", "SQNR", "why",
)  # fmt: skip


@attrs.frozen
class Accuracy:
    """Share of the labels that is the top-1 class.

    Attributes:
        simulation: Of the frozen graph with its fake quantisers.
        reference: Of the integer reference, ``None`` without one.
        runtime: Of the artifact in its runtime.
    """

    simulation: float
    reference: float | None
    runtime: float


@attrs.frozen
class OutputCheck:
    """One output of the artifact in its runtime.

    Attributes:
        output: Name of the op in TensorFlow.
        simulation: Beside the frozen graph with its fake quantisers.
        reference: Beside the integer reference; ``None`` when only weights are quantised.
        accuracy: On the labels, ``None`` without labels for this output.
        float_model: Beside the model before it was quantised; ``None`` when that isn't known.
        classes: Whether it holds class scores, so that its top-1 is judged.
        near_ties: Of class scores, how many rows that have another top-1 class than in what the
            output is judged by (the integer reference, else the simulation) are near ties.
        own: The output's own difference: beside the exact result for what the runtime returned for
            the layers. ``None`` unless layers were compared.
    """

    output: str
    simulation: Comparison
    reference: Comparison | None
    accuracy: Accuracy | None = None
    float_model: Comparison | None = None
    classes: bool = False
    near_ties: int = 0
    own: Comparison | None = None

    @property
    def judged(self) -> Comparison:
        """The comparison that limits are held to."""
        return self.reference or self.simulation

    @property
    def beside(self) -> tuple[tuple[str, Comparison], ...]:
        """What it was compared with, and how: what is the same graph stands there once."""
        rows = [("integer reference", self.reference), ("float model", self.float_model)]
        if self.float_model != self.simulation:
            rows.append(("simulation", self.simulation))
        return tuple((name, found) for name, found in rows if found is not None)


@attrs.frozen
class LayerCheck:
    """The result of one quantised layer in the runtime.

    Attributes:
        layer: Name of the op in TensorFlow.
        op_type: Type of that op.
        tensor: Node of the simulation that it was compared with, ``None`` when it wasn't.
        execution: As in `LayerExecution`.
        own: The layer's own difference: beside the exact result for what the runtime returned
            for the layers before it. ``None`` when the artifact doesn't show the layer's result.
        found: The whole difference, with what the layers before it contributed.
        reason: Why it doesn't, or what else a reader should know.
        cut_off: Share of the layer's exact values beyond the grid of its result, of those that are
            taken from it: behind a pooling, the largest ones. ``None`` when its result isn't
            rounded.
    """

    layer: str
    op_type: str
    tensor: str | None
    execution: str
    own: Comparison | None
    found: Comparison | None
    reason: str | None = None
    cut_off: float | None = None


@attrs.frozen
class ArtifactFile:
    """One file of the artifact.

    Attributes:
        name: Its name, without folder.
        size: Its bytes.
    """

    name: str
    size: int


@attrs.frozen
class Verification:
    """An artifact in its runtime beside what it was made of.

    Attributes:
        target: Name of the exporter.
        files: The files of the artifact, the main one first.
        samples: How many inputs were run.
        outputs: Each output of the model.
        executions: How the artifact computes each layer of the plan, read from its file.
        layers: Each quantised layer in the order of the graph; empty when that wasn't asked for.
        layer_reference: What the layers were compared with: ``"integer reference"`` or
            ``"simulation"``.
        limits: The limits that `ok`, `problems` and `first_divergence` take by default.
    """

    target: str
    files: tuple[ArtifactFile, ...]
    samples: int
    outputs: tuple[OutputCheck, ...]
    executions: tuple[LayerExecution, ...]
    layers: tuple[LayerCheck, ...] = ()
    layer_reference: str = "integer reference"
    limits: Limits = attrs.field(factory=Limits)

    def first_divergence(self, limits: Limits | None = None) -> LayerCheck | None:
        """The first layer, in the order of the graph, that is missing or beyond `limits`.

        A layer's own difference counts: what it only passes on is not its fault.
        """
        return next((layer for layer, _ in self._diverging(limits or self.limits)), None)

    def most_different(self) -> LayerCheck | None:
        """The layer with the largest mean difference of its own; ``None`` when none has any."""
        shown = [layer for layer in self.layers if layer.own is not None and layer.own.mean > 0]
        return max(shown, key=lambda layer: layer.own.mean if layer.own else 0.0, default=None)

    def ok(self, limits: Limits | None = None) -> bool:
        """Whether nothing is missing and nothing beyond `limits`."""
        return not self.problems(limits)

    def problems(self, limits: Limits | None = None) -> tuple[str, ...]:
        """A sentence for each output and each layer that is missing or beyond `limits`."""
        limits = limits or self.limits
        found = []
        for output in self.outputs:
            problem = limits.output_problem(output.judged, output.classes, output.near_ties)
            if problem and not self._is_carried(output, limits):
                found.append(f'output "{output.output}": {problem}')
        checked = {layer.layer for layer in self.layers}
        found += [
            f'layer "{row.layer}": {row.reason or "it is missing in the artifact"}'
            for row in self.executions
            if row.execution == "missing" and row.layer not in checked
        ]
        found += [f'layer "{layer.layer}": {why}' for layer, why in self._diverging(limits)]
        return tuple(found)

    def carried(self, limits: Limits | None = None) -> tuple[str, ...]:
        """A sentence for each output beyond `limits` whose difference is that of ties alone.

        Each layer returns what it should for what it was given, within `Limits.carried`, and so
        does the output: nothing is wrong in the artifact, whose ties fall otherwise.
        """
        limits = limits or self.limits
        found = []
        for output in self.outputs:
            problem = limits.output_problem(output.judged, output.classes, output.near_ties)
            if problem and self._is_carried(output, limits):
                found.append(
                    f'output "{output.output}": {problem}, which ties alone do: every layer is '
                    f"right for what it was given, within {self._largest_own_mean():.2g} steps"
                )
        return tuple(found)

    def _is_carried(self, output: OutputCheck, limits: Limits) -> bool:
        owns = [layer.own for layer in self.layers if layer.own is not None]
        if output.own is None or not owns or len(owns) < len(self.layers):
            return False
        if output.judged.not_finite or any(own.not_finite for own in owns):
            return False
        exact = self._largest_own_mean() <= limits.carried
        return exact and limits.output_problem(output.own, output.classes) is None

    def _largest_own_mean(self) -> float:
        return max((layer.own.mean for layer in self.layers if layer.own is not None), default=0.0)

    def _diverging(self, limits: Limits) -> Iterator[tuple[LayerCheck, str]]:
        for layer in self.layers:
            if layer.execution == "missing":
                yield layer, layer.reason or "it is missing in the artifact"
            elif layer.own is not None:
                problem = limits.cut_off_problem(layer.cut_off) or limits.layer_problem(layer.own)
                if problem:
                    yield layer, problem

    def summary(self) -> list[tuple[str, ...]]:
        """Rows of text with the cells that `SUMMARY_HEADER` names."""
        rows: list[tuple[str, ...]] = []
        for output in self.outputs:
            for name, found in output.beside:
                shown = output.classes and found.agreement is not None
                same = f"{found.agreement:.2%}" if shown else "-"
                if found is output.judged and output.near_ties:
                    same += f" ({said_near_ties(output.near_ties)})"
                step = f"{found.step:.4g} ({found.step_source})"
                cells = (*difference_cells(found)[:2], step, difference_cells(found)[2])
                rows.append((output.output, name, same, *cells))
        return rows

    def layer_rows(self) -> list[tuple[str, ...]]:
        """Rows of text with the cells that `LAYER_HEADER` names."""
        return [
            (
                layer.layer,
                layer.op_type,
                layer.execution,
                *difference_cells(layer.own)[:2],
                *difference_cells(layer.found),
                layer.reason or "",
            )
            for layer in self.layers
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with what `ok`, `problems` and the layers' names say."""
        divergence, different = self.first_divergence(), self.most_different()
        return {
            **attrs.asdict(self),
            "ok": self.ok(),
            "problems": list(self.problems()),
            "carried": list(self.carried()),
            "first_divergence": divergence and divergence.layer,
            "most_different": different and different.layer,
        }

    def to_json(self) -> str:
        """`to_dict` as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Verification:
        """The verification that `to_json` turned into `text`.

        Raises:
            ModelFileError: `text` is no JSON, or not that of a verification.
        """
        try:
            return _verification(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelFileError(f"the text is not a verification's JSON: {error!r}") from error


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


def _verification(data: Mapping[str, Any]) -> Verification:
    def comparison(found: Mapping[str, Any] | None) -> Any:
        return None if found is None else Comparison(**found)

    def output(found: Mapping[str, Any]) -> OutputCheck:
        accuracy = found["accuracy"]
        return OutputCheck(
            found["output"],
            comparison(found["simulation"]),
            comparison(found["reference"]),
            None if accuracy is None else Accuracy(**accuracy),
            comparison(found["float_model"]),
            found["classes"],
            found["near_ties"],
            comparison(found["own"]),
        )

    return Verification(
        target=data["target"],
        files=tuple(ArtifactFile(**found) for found in data["files"]),
        samples=data["samples"],
        outputs=tuple(output(found) for found in data["outputs"]),
        executions=tuple(LayerExecution(**found) for found in data["executions"]),
        layers=tuple(
            LayerCheck(
                **{**found, "own": comparison(found["own"]), "found": comparison(found["found"])}
            )
            for found in data["layers"]
        ),
        layer_reference=data["layer_reference"],
        limits=Limits(**data["limits"]),
    )
