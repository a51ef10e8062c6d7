"""Layers that the converter would compute once, because they are the same: each keeps its own.

The converter makes one operator of two ops of one type with the same attributes and inputs, and
simplifies the graph before and after it compares. So each layer that has the type, the attributes
and the constants of another one takes its activation through a mark, whatever that activation is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.channels_last import CHANNELS_LAST_PORTS
from graphquant_export.targets.litert.marks import Marks

_DATA = b"data"
_RESHAPING = frozenset({"ExpandDims", "Identity", "Reshape", "Squeeze"})


def keep_twins_apart(editor: GraphDefEditor, marks: Marks, layers: Iterable[str]) -> None:
    """Gives each of `layers` that is like one before it a mark of its own in front.

    Args:
        editor: The graph, channels last.
        marks: Where marks come from.
        layers: Names of the nodes that compute layers.
    """
    seen: set[bytes] = set()
    for name in dict.fromkeys(layers):
        kind = _kind(editor, name)
        if kind in seen:
            node = editor.node(name)
            port = CHANNELS_LAST_PORTS.get(node.op, 0)
            editor.set_input(name, port, marks.add(node.input[port], f"{name}/twin"))
        seen.add(kind)


def _kind(editor: GraphDefEditor, name: str) -> bytes:
    """The same for two nodes that differ in their names and in what depends on data alone."""
    node = editor.node(name)
    inputs = [taken for taken in node.input if not taken.startswith("^")]
    return _digest(node, [_constant(editor, taken) for taken in inputs])


def _constant(editor: GraphDefEditor, tensor: str) -> bytes:
    node = editor.node(tensor.partition(":")[0])
    if node.op != "Const" and node.op not in _RESHAPING:
        return _DATA
    inputs = [_constant(editor, taken) for taken in node.input if not taken.startswith("^")]
    if _DATA in inputs:
        return _DATA
    return inputs[0] if node.op == "Identity" else _digest(node, inputs)


def _digest(node: tf.compat.v1.NodeDef, inputs: Iterable[bytes]) -> bytes:
    said = hashlib.sha256(node.op.encode())
    for key in sorted(node.attr):
        if not key.startswith("_"):
            said.update(key.encode() + node.attr[key].SerializeToString(deterministic=True))
    for taken in inputs:
        said.update(hashlib.sha256(taken).digest())
    return said.digest()
