"""Export to Ascend's compiler, as AMCT does it. It imports TensorFlow."""

from __future__ import annotations

from graphquant_export.targets.ascend.artifact import AscendArtifact, artifact_files, artifact_paths
from graphquant_export.targets.ascend.deploy import DeployedLayer, quantize_graph
from graphquant_export.targets.ascend.export import export_ascend, open_ascend
from graphquant_export.targets.ascend.functions import (
    ASCEND_TYPES,
    ascend_functions,
    without_ascend_functions,
)
from graphquant_export.targets.ascend.runtime import AscendRuntime

__all__ = [
    "ASCEND_TYPES",
    "AscendArtifact",
    "AscendRuntime",
    "DeployedLayer",
    "artifact_files",
    "artifact_paths",
    "ascend_functions",
    "export_ascend",
    "open_ascend",
    "quantize_graph",
    "without_ascend_functions",
]
