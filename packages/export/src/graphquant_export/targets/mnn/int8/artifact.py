"""The files of an int8 export to MNN."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs

from graphquant_core.exporter import ExportSource
from graphquant_core.listing import sentences
from graphquant_export.targets.mnn.command import ConverterCommand
from graphquant_export.targets.mnn.int8.compare_layers import StoredLayer
from graphquant_export.targets.mnn.int8.planned_layers import PlannedLayer


@attrs.frozen(eq=False)
class MnnInt8Artifact:
    """What an int8 export to MNN wrote.

    Attributes:
        model_path: The model for MNN.
        frozen_path: The frozen graph that it was converted from.
        params_path: The compression parameters that the converter was given.
        planned: Every layer of the record: how MNN computes it, on which grids, and why.
        layers: Every layer with a quantised weight, as the file holds it beside the record.
        source: What it was made of.
    """

    target: ClassVar[str] = "mnn"

    model_path: Path
    frozen_path: Path
    params_path: Path
    planned: tuple[PlannedLayer, ...] = attrs.field(repr=False)
    layers: tuple[StoredLayer, ...]
    source: ExportSource

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, the model first."""
        return (self.model_path, self.frozen_path, self.params_path)

    @property
    def commands(self) -> tuple[ConverterCommand, ConverterCommand]:
        """What converts the frozen graph again: with floats, and then that model to integers.

        The model is the same but for its identity, and for the weights of layers that compute with
        floats, on which the converter then leaves scales of its own.
        """
        return (
            ConverterCommand(self.frozen_path, self.model_path),
            ConverterCommand(self.model_path, self.model_path, self.params_path),
        )

    def reason(self, layer: str) -> str | None:
        """Why `layer` isn't int8, how far off its weight is, or what else a reader should know."""
        reasons = [row.reason for row in self.planned if row.simulated.name == layer]
        off = max((row.off_by for row in self.layers if row.name == layer), default=0.0)
        if off:
            reasons.append(f"MNN stores its weight on scales of its own, up to {off:.2f} steps off")
        return sentences(reason for reason in reasons if reason) or None
