"""Takes out of a frozen graph the fake quantisers of values, which a record holds the grids of."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.frozen.editor import GraphDefEditor
from graphquant_core.graph.rewire import (
    ACTIVATION_INPUT,
    ROLE_ATTRIBUTE,
    VALUE_INPUT,
    VALUE_OUTPUT,
    no_beginning,
)


def without_value_quantizers(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """`graph_def` in which everything takes values as they were before they were rounded.

    Fake quantisers of what goes into layers stay, and so do the nodes that nothing takes any more.

    Raises:
        ModelFileError: What a fake quantiser takes can't be told; names its node.
    """
    outputs = [node.name for node in graph_def.node if _role(node) == VALUE_OUTPUT]
    if not outputs:
        return graph_def
    editor = GraphDefEditor(graph_def)
    # All before the first one is taken out: what stands behind one then hangs on what it took.
    sources = {name: _quantized(editor, name) for name in outputs}
    for name in outputs:
        source = sources[name]
        while source in sources:
            source = sources[source]
        for consumer, port in editor.consumers(name):
            editor.set_input(consumer, port, source)
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(graph_def)
    del result.node[:]
    result.node.extend(editor.node(node.name) for node in graph_def.node)
    return result


def _quantized(editor: GraphDefEditor, name: str) -> str:
    """The tensor that the fake quantiser with the result `name` takes."""
    waiting, seen = [name], {name}
    while waiting:
        node = editor.node(waiting.pop(0))
        if _role(node) in (VALUE_INPUT, ACTIVATION_INPUT):
            return str(node.input[0])
        for taken in node.input:
            source = taken.removeprefix("^").partition(":")[0]
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    raise ModelFileError(no_beginning(name))


def _role(node: tf.compat.v1.NodeDef) -> str:
    return node.attr[ROLE_ATTRIBUTE].s.decode() if ROLE_ATTRIBUTE in node.attr else ""
