"""Outputs of a function, each as the first output of an op with a name that says what it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor

_NAMELESS = re.compile(r"^(?:.*/)?Identity(?:_\d+)?$")


def name_outputs(
    graph_def: tf.compat.v1.GraphDef,
    tensors: Sequence[str],
    wanted: Sequence[str],
    *,
    always: bool = False,
) -> tuple[tf.compat.v1.GraphDef, tuple[str, ...]]:
    """Gives each output tensor an op of its own.

    An Identity without a name of its own gets the wanted one.

    Args:
        graph_def: Frozen graph.
        tensors: Names of its output tensors.
        wanted: Name for each, where the op that it is the first output of doesn't serve.
        always: Whether an op serves only if it has the wanted name.

    Returns:
        The graph, and for each tensor the name of the op whose first output it is.
    """
    editor = GraphDefEditor(graph_def)
    names: list[str] = []
    for tensor, name in zip(tensors, wanted, strict=True):
        op, _, index = tensor.partition(":")
        own = index in ("", "0") and op not in names
        if own and op == name:
            names.append(op)
        elif own and _NAMELESS.match(op) and not editor.has(name) and not editor.consumers(op):
            editor.rename(op, name)
            names.append(name)
        elif own and not always:
            names.append(op)
        else:
            names.append(_add_identity(editor, graph_def, tensor, name))
    return editor.graph_def(names), tuple(names)


def output_name(tensor: str) -> str:
    """Name for the op of an output: ``"call"`` for ``"call:0"``, ``"call_1"`` for ``"call:1"``."""
    return tensor.removesuffix(":0").replace(":", "_")


def _add_identity(
    editor: GraphDefEditor, graph_def: tf.compat.v1.GraphDef, tensor: str, name: str
) -> str:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    dtype = graph.get_tensor_by_name(tensor if ":" in tensor else f"{tensor}:0").dtype
    node = tf.compat.v1.NodeDef(op="Identity", input=[tensor])
    node.name = name if not editor.has(name) else editor.unique_name(name)
    node.attr["T"].type = dtype.as_datatype_enum
    return editor.add(node)
