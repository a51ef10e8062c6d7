"""What a verification found, and what of it is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from graphquant_core.exceptions import ModelFileError
from graphquant_core.runtime import LayerExecution
from graphquant_export.verification.checks import (
    Accuracy,
    ArtifactFile,
    LayerCheck,
    OutputCheck,
)
from graphquant_export.verification.comparison import Comparison
from graphquant_export.verification.limits import Limits
from graphquant_export.verification.rows import layer_rows, summary_rows


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
        found = [
            f'output "{output.output}": {why}'
            for output, why in self._differing(limits)
            if not self._is_carried(output, limits)
        ]
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
        return tuple(
            f'output "{output.output}": {why}, which ties alone do: every layer is right for what '
            f"it was given, within {self._largest_own_mean():.2g} steps"
            for output, why in self._differing(limits)
            if self._is_carried(output, limits)
        )

    def _differing(self, limits: Limits) -> Iterator[tuple[OutputCheck, str]]:
        for output in self.outputs:
            problem = limits.output_problem(output.judged, output.classes, output.near_ties)
            if problem:
                yield output, problem

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
        return summary_rows(self.outputs)

    def layer_rows(self) -> list[tuple[str, ...]]:
        """Rows of text with the cells that `LAYER_HEADER` names."""
        return layer_rows(self.layers)

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
