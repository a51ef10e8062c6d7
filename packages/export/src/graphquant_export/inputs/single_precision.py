"""Models that compute with 16-bit floats, as float32: what targets take and quantise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

_SHORT = frozenset({tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum})
_LONG = tf.float32.as_datatype_enum


def as_single_precision(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """`graph_def` with float32 for float16 and bfloat16; itself when it has none.

    Weights and placeholders are float32 as well. Where the model rounded what it computed to
    16 bits, nothing is rounded.
    """
    if not any(_is_short(node) for node in _nodes(graph_def)):
        return graph_def
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(graph_def)
    for node in _nodes(result):
        for attribute in node.attr.values():
            _lengthen(attribute)
        if node.op == "Cast" and node.attr["SrcT"].type == node.attr["DstT"].type == _LONG:
            node.op = "Identity"
            node.attr.clear()
            node.attr["T"].type = _LONG
    for function in result.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type in _SHORT:
                argument.type = _LONG
    return result


def _nodes(graph_def: tf.compat.v1.GraphDef) -> Iterable[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _is_short(node: Any) -> bool:
    return any(
        attribute.type in _SHORT or any(each in _SHORT for each in attribute.list.type)
        for attribute in node.attr.values()
    )


def _lengthen(attribute: Any) -> None:
    if attribute.type in _SHORT:
        attribute.type = _LONG
    for index, each in enumerate(attribute.list.type):
        if each in _SHORT:
            attribute.list.type[index] = _LONG
    if attribute.HasField("tensor") and attribute.tensor.dtype in _SHORT:
        value = np.asarray(tf.make_ndarray(attribute.tensor), np.float32)
        attribute.tensor.CopyFrom(tf.make_tensor_proto(value))
    if attribute.HasField("func"):
        for inner in attribute.func.attr.values():
            _lengthen(inner)
