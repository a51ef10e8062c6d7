"""Batch norm of a training graph, as inference computes it: with the moving averages."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.affine import FUSED_BATCH_NORM_TYPES
from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.moving_averages import find_moving_averages

logger = logging.getLogger(__name__)

v1 = tf.compat.v1

_MEAN, _VARIANCE = 1, 2
_MEAN_PORT, _VARIANCE_PORT = 3, 4


def use_moving_averages(graph: tf.Graph, outputs: Sequence[str]) -> tf.compat.v1.GraphDef:
    """The nodes of `graph` that `outputs` need, each batch norm with its moving averages.

    A batch norm whose averages no op of the graph updates stays as it is, in training mode.

    Args:
        graph: A training graph; ops that read variables are added to it.
        outputs: Names of ops in it.
    """
    averages = {
        average.batch: average.variable for average in find_moving_averages(GraphView(graph))
    }
    needed = {node.name for node in GraphDefEditor(graph.as_graph_def()).graph_def(outputs).node}
    found: dict[str, tuple[str, str]] = {}
    for op in graph.get_operations():
        if op.name in needed and is_training_norm(op.node_def):
            mean, variance = averages.get(op.outputs[_MEAN]), averages.get(op.outputs[_VARIANCE])
            if mean is not None and variance is not None:
                found[op.name] = (_value(mean), _value(variance))
    editor = GraphDefEditor(graph.as_graph_def())
    for name, (mean_value, variance_value) in found.items():
        editor.set_input(name, _MEAN_PORT, mean_value)
        editor.set_input(name, _VARIANCE_PORT, variance_value)
        editor.node(name).attr["is_training"].b = False
    return editor.graph_def(outputs)


def is_training_norm(node: tf.compat.v1.NodeDef) -> bool:
    """Whether `node` is a batch norm that computes the statistics of its batch."""
    training = node.op in FUSED_BATCH_NORM_TYPES
    return training and ("is_training" not in node.attr or bool(node.attr["is_training"].b))


def warn_of_training_norms(graph_def: tf.compat.v1.GraphDef) -> None:
    """Logs a warning that names the batch norms that compute the statistics of their batch."""
    names = [node.name for node in graph_def.node if is_training_norm(node)]
    if names:
        logger.warning(
            'batch norm "%s"%s is in training mode, so that results depend on the batch, and it '
            "cannot be folded: build the model for inference",
            names[0],
            f" and {len(names) - 1} more" if len(names) > 1 else "",
        )


def _value(variable: tf.Operation) -> str:
    """Name of an op with the value of `variable`."""
    with variable.graph.as_default(), tf.control_dependencies(None), v1.name_scope(None):
        if variable.type != "VarHandleOp":
            return str(tf.identity(variable.outputs[0]).op.name)
        dtype = variable.get_attr("dtype")
        read = tf.raw_ops.ReadVariableOp(resource=variable.outputs[0], dtype=dtype)
        return str(read.op.name)
