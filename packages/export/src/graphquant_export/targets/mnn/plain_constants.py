"""Constants with each of their values written down, as MNN's converter reads them.

TensorFlow leaves out what repeats at the end of a large constant, of zeros every one. MNN's
converter reads as many values as the shape has, beyond the end of those that are there (3.6.1).
"""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph.frozen.node_def import const_node

_REPEATING = ("float_val", "half_val", "double_val", "int_val", "int64_val", "bool_val")


def with_plain_constants(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """`graph_def` with every number of its constants; itself when they are all there."""
    short = [number for number, node in enumerate(graph_def.node) if _is_short(node)]
    if not short:
        return graph_def
    plain = tf.compat.v1.GraphDef()
    plain.CopyFrom(graph_def)
    for number in short:
        node = plain.node[number]
        value = tf.make_ndarray(node.attr["value"].tensor)
        written = const_node(node.name, value)
        node.attr["value"].CopyFrom(written.attr["value"])
    return plain


def _is_short(node: tf.compat.v1.NodeDef) -> bool:
    if node.op != "Const" or tf.as_dtype(node.attr["dtype"].type) == tf.string:
        return False
    tensor = node.attr["value"].tensor
    count = 1
    for dim in tensor.tensor_shape.dim:
        count *= dim.size
    given = max(len(getattr(tensor, name)) for name in _REPEATING)
    return bool(not tensor.tensor_content and count > 1 and given < count)
