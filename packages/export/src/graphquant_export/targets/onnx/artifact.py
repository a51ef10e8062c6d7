"""The file of an ONNX export."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs

from graphquant_core.exporter import ExportSource


@attrs.frozen
class OnnxArtifact:
    """What an export to ONNX wrote.

    Attributes:
        model_path: The model.
        opset: Opset of its ops.
        source: What it was made of.
    """

    target: ClassVar[str] = "onnx"

    model_path: Path
    opset: int
    source: ExportSource

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.model_path,)
