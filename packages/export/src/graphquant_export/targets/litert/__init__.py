"""Export to LiteRT (TensorFlow Lite). It imports TensorFlow."""

from __future__ import annotations

from graphquant_export.targets.litert.artifact import LiteRtArtifact, open_litert
from graphquant_export.targets.litert.export import export_litert
from graphquant_export.targets.litert.runtime import LiteRtRuntime

__all__ = ["LiteRtArtifact", "LiteRtRuntime", "export_litert", "open_litert"]
