"""Ops that MNN's converter makes one of, because they compute the same of the same.

What alone takes the result of a layer it then merges into the layer, though the result is another
one where two ops take it: a bias or an activation function that a model has twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.affine import ADDING_TYPES
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_export.targets.mnn.int8.float_values import Edge
from graphquant_export.targets.mnn.int8.planned_layers import PlannedLayer
from graphquant_export.targets.mnn.op_names import ACTIVATIONS, is_merged_further

_MERGED_TYPES = frozenset({*ADDING_TYPES, "BiasAdd", *ACTIVATIONS})


def with_one_of_each(
    graph_def: tf.compat.v1.GraphDef, outputs: Collection[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` with one op for all that MNN could merge with a layer and that are equal.

    Outputs of the model stay.
    """
    view = GraphView(import_frozen(graph_def))
    editor = GraphDefEditor(graph_def)
    first: dict[tuple[bytes, ...], str] = {}
    for op in view.operations:
        if op.type not in _MERGED_TYPES:
            continue
        kept = first.setdefault(_what(editor, op.name), op.name)
        if kept != op.name and op.name not in outputs:
            for taker, port in editor.consumers(op.name):
                editor.set_input(taker, port, kept)
            editor.move_control_edges(op.name, kept)
    return editor.graph_def(outputs)


def _what(editor: GraphDefEditor, name: str) -> tuple[bytes, ...]:
    """The same for two ops that compute the same of the same tensors."""
    node = tf.compat.v1.NodeDef()
    node.CopyFrom(editor.node(name))
    inputs = [_constant(editor, taken) for taken in node.input]
    node.name = ""
    del node.input[:]
    return node.SerializeToString(deterministic=True), *inputs


def _constant(editor: GraphDefEditor, tensor: str) -> bytes:
    node = editor.node(tensor.lstrip("^").partition(":")[0])
    if node.op != "Const":
        return tensor.encode()
    return b"=" + bytes(node.attr["value"].SerializeToString(deterministic=True))


def merged_edges(view: GraphView, layers: Iterable[PlannedLayer]) -> Iterator[Edge]:
    """Where MNN would merge with an int8 layer what takes its result.

    Args:
        view: View of a graph without equal ops.
        layers: The int8 layers.
    """
    for layer in layers:
        assert layer.layer is not None
        result = view.graph.get_operation_by_name(layer.result)
        if is_merged_further(view, layer.layer, result):
            yield from ((op.name, port) for op, port in view.consumers(result.outputs[0]))
