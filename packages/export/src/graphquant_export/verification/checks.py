"""What was found of one output, of one layer and of one file, as values."""

from __future__ import annotations

import attrs

from graphquant_export.verification.comparison import Comparison


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
