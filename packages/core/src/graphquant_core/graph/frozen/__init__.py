"""Frozen graphs: loading, checking, evaluating and editing them. It imports TensorFlow."""

from __future__ import annotations

from graphquant_core.graph.frozen.copies import add_for_each
from graphquant_core.graph.frozen.editor import GraphDefEditor, tensor_name
from graphquant_core.graph.frozen.evaluate import evaluate_constants
from graphquant_core.graph.frozen.load import import_frozen, load_graph_def
from graphquant_core.graph.frozen.older_tensorflow import strip_later_attributes
from graphquant_core.graph.frozen.outputs import check_outputs
from graphquant_core.graph.frozen.session import cpu_session
from graphquant_core.graph.frozen.value_quantizers import without_value_quantizers

__all__ = [
    "GraphDefEditor",
    "add_for_each",
    "check_outputs",
    "cpu_session",
    "evaluate_constants",
    "import_frozen",
    "load_graph_def",
    "strip_later_attributes",
    "tensor_name",
    "without_value_quantizers",
]
