"""Brings what is NCHW in a graph to NHWC, with transpositions at the borders alone.

The ops keep their names, and what an output gives is as it was. Between two layers that were NCHW
nothing is transposed, unless an op stands there that can't take the other layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.graph.frozen.channels_last import TO_NCHW, transpose
from graphquant_export.layout.elementwise import ELEMENTWISE
from graphquant_export.layout.layers import LAYERS
from graphquant_export.layout.moving import MOVING
from graphquant_export.layout.reducing import REDUCING
from graphquant_export.layout.region import Region

INNER = "/channels_last"
"""What the name of an op in NHWC ends in whose own name is that of an output of the model."""

_RULES = {**LAYERS, **ELEMENTWISE, **MOVING, **REDUCING}


def is_nchw(node: tf.compat.v1.NodeDef) -> bool:
    """Whether `node` says that it is NCHW."""
    return "data_format" in node.attr and bool(node.attr["data_format"].s == b"NCHW")


def with_channels_last(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` without any op in NCHW that the rules here know.

    Args:
        graph_def: A frozen graph.
        outputs: Names of its outputs.
    """
    if not any(is_nchw(node) for node in graph_def.node):
        return graph_def
    view = GraphView(import_frozen(graph_def))
    editor = GraphDefEditor(graph_def)
    region = Region(editor, view)
    for op in _in_order(view):
        rule = _RULES.get(op.type)
        if rule is None or not rule(region, op):
            for port, tensor in enumerate(op.inputs):
                if region.has(tensor):
                    editor.set_input(op.name, port, region.nchw(tensor))
    for name in dict.fromkeys(outputs):
        tensor = view.graph.get_operation_by_name(name).outputs[0]
        if region.has(tensor) and region.nhwc(tensor) == name:
            _rename(editor, name, tensor.dtype)
    return editor.graph_def(outputs)


def _rename(editor: GraphDefEditor, name: str, dtype: tf.DType) -> None:
    """Lets the name of an output be that of its value in NCHW."""
    takers = editor.consumers(name)
    inner = editor.unique_name(f"{name}{INNER}")
    editor.rename(name, inner)
    for taker, port in takers:
        editor.set_input(taker, port, inner)
    editor.rename(transpose(editor, f"{name}/nchw", inner, TO_NCHW, dtype), name)


def _in_order(view: GraphView) -> Iterator[tf.Operation]:
    """Every op behind those that it takes; a loop is entered anywhere."""
    seen: set[tf.Operation] = set()
    done: set[tf.Operation] = set()
    for start in view.operations:
        waiting = [start]
        while waiting:
            op = waiting[-1]
            before = [] if op in seen else [x.op for x in op.inputs if x.op not in seen]
            seen.add(op)
            if before:
                waiting.extend(before)
            elif waiting.pop() not in done:
                done.add(op)
                yield op
