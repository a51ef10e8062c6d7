"""MNN models that compute with int8. Importing it imports TensorFlow."""

from __future__ import annotations

from graphquant_export.targets.mnn.int8.activation_grid import ActivationGrid
from graphquant_export.targets.mnn.int8.artifact import MnnInt8Artifact
from graphquant_export.targets.mnn.int8.compare_layers import StoredLayer
from graphquant_export.targets.mnn.int8.export_int8 import export_mnn_int8
from graphquant_export.targets.mnn.int8.open_int8 import open_mnn_int8
from graphquant_export.targets.mnn.int8.planned_layers import PlannedLayer

__all__ = [
    "ActivationGrid",
    "MnnInt8Artifact",
    "PlannedLayer",
    "StoredLayer",
    "export_mnn_int8",
    "open_mnn_int8",
]
