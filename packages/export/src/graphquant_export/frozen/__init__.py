"""Frozen graphs: loading, checking, evaluating and editing them. It imports TensorFlow."""

from __future__ import annotations

from graphquant_export.frozen.cpu_session import cpu_session
from graphquant_export.frozen.editor import GraphDefEditor, tensor_name
from graphquant_export.frozen.evaluate import evaluate_constants
from graphquant_export.frozen.load import import_frozen, load_graph_def
from graphquant_export.frozen.older_tensorflow import strip_later_attributes
from graphquant_export.frozen.outputs import check_outputs

__all__ = [
    "GraphDefEditor",
    "check_outputs",
    "cpu_session",
    "evaluate_constants",
    "import_frozen",
    "load_graph_def",
    "strip_later_attributes",
    "tensor_name",
]
