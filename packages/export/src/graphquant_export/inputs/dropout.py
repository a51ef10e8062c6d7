"""Dropout that drops nothing, as one has whose rate got the value 0."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.affine import ADDING_TYPES
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    evaluate_constants,
    import_frozen,
    tensor_name,
)
from graphquant_core.graph.frozen.node_def import node_def

_CHOOSING = frozenset({"Select", "SelectV2"})
_DRAWN = "RandomUniform"


def without_dropout(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` without dropout that keeps all of a tensor: an Identity of it is left.

    That is Select(u >= rate, x, y) or x * Cast(u >= rate) with rate <= 0, and x * floor(keep + u)
    with keep = 1, u being drawn from [0, 1).

    Args:
        graph_def: Frozen graph.
        outputs: Names of the ops that are the model's outputs.

    Source: tf.nn.dropout of TensorFlow 2.21, 1.15 and 1.4.
    """
    if not any(node.op == _DRAWN for node in graph_def.node):
        return graph_def
    view = GraphView(import_frozen(graph_def))
    editor = GraphDefEditor(graph_def)
    for op in view.operations:
        port = _kept(view, op)
        if port is not None:
            kept = tensor_name(op.inputs[port].name)
            editor.replace(node_def(op.name, "Identity", [kept], T=op.outputs[0].dtype))
    return editor.graph_def(outputs)


def _kept(view: GraphView, op: tf.Operation) -> int | None:
    """Which input of `op` it returns as it is; ``None`` unless it is dropout."""
    if op.type in _CHOOSING and _is_true(view, op.inputs[0]):
        return 1 if _keeps_shape(op, 1) else None
    if op.type == "Mul":
        for port, tensor in enumerate(op.inputs):
            if _is_one(view, tensor) and _keeps_shape(op, 1 - port):
                return 1 - port
    return None


def _keeps_shape(op: tf.Operation, port: int) -> bool:
    """Whether nothing is broadcast: the input is known to have the shape of the result."""
    given, result = op.inputs[port].shape, op.outputs[0].shape
    return given.rank is not None and given.as_list() == result.as_list()


def _is_true(view: GraphView, tensor: tf.Tensor) -> bool:
    """Whether `tensor` is u >= rate with a rate that nothing is below."""
    op = tensor.op
    if op.type != "GreaterEqual" or not _is_drawn(view, op.inputs[0]):
        return False
    rate = _constant(view, op.inputs[1])
    return rate is not None and rate <= 0


def _is_one(view: GraphView, tensor: tf.Tensor) -> bool:
    """Whether all of `tensor` is 1: what is true as a number, or floor(1 + u)."""
    op = tensor.op
    if op.type == "Cast":
        return _is_true(view, op.inputs[0])
    if op.type != "Floor" or op.inputs[0].op.type not in ADDING_TYPES:
        return False
    first, second = op.inputs[0].op.inputs
    return any(
        _is_drawn(view, drawn) and _constant(view, keep) == 1
        for drawn, keep in ((first, second), (second, first))
    )


def _is_drawn(view: GraphView, tensor: tf.Tensor) -> bool:
    """Whether `tensor` is drawn from [0, 1): u, or u * (1 - 0) + 0, as older versions have it."""
    op = tensor.op
    if op.type in ADDING_TYPES and _constant(view, op.inputs[1]) == 0:
        op = op.inputs[0].op
    if op.type == "Mul" and _constant(view, op.inputs[1]) == 1:
        op = op.inputs[0].op
    return bool(op.type == _DRAWN)


def _constant(view: GraphView, tensor: tf.Tensor) -> float | None:
    """The scalar that `tensor` is, where it depends on constants alone."""
    if tensor.shape.rank != 0 or view.depends_on_data(tensor):
        return None
    (value,) = evaluate_constants(view.graph, [tensor])
    return float(value)
