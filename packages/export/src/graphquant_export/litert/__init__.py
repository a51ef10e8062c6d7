"""Export to LiteRT (TensorFlow Lite). It imports TensorFlow."""

from __future__ import annotations

from graphquant_export.litert.artifact import LiteRtArtifact, open_litert
from graphquant_export.litert.export import export_litert
from graphquant_export.litert.runtime import LiteRtRuntime

__all__ = ["LiteRtArtifact", "LiteRtRuntime", "export_litert", "open_litert"]
