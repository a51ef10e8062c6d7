"""Export to Ascend's compiler, as AMCT does it. It imports TensorFlow."""

from __future__ import annotations

from graphquant_export.ascend.artifact import AscendArtifact, without_ascend_functions
from graphquant_export.ascend.deploy import DeployedLayer
from graphquant_export.ascend.export import export_ascend, quantize_graph

__all__ = [
    "AscendArtifact",
    "DeployedLayer",
    "export_ascend",
    "quantize_graph",
    "without_ascend_functions",
]
