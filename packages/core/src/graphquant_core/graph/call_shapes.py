"""Shapes of what function calls return, found once, so that an import needn't infer them.

TensorFlow infers the shapes of each call anew, and copies all constants that the graph's shapes
hang on while it does: in a large graph that takes longer than everything else that an import does.
An op with the attribute `_disable_call_shape_inference` is spared that, and `_output_shapes` gives
an imported op its shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from graphquant_core.graph.rewire import clear_attribute

v1 = tf.compat.v1

CALL_TYPES = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_NOT_INFERRED = "_disable_call_shape_inference"
_SHAPES = "_output_shapes"

CallShapes = Mapping[str, tuple[tf.TensorShape, ...]]
"""Shapes of what each call returns, by its name."""


def known_shapes(operations: Iterable[tf.Operation]) -> CallShapes:
    """The shapes that the calls among `operations` have in their graph."""
    return {
        op.name: tuple(output.shape for output in op.outputs)
        for op in operations
        if op.type in CALL_TYPES
    }


def inferred_shapes(graph_def: Any, placeholder: str, shape: tf.TensorShape) -> CallShapes:
    """The shapes that the calls in `graph_def` have when its `placeholder` has `shape`."""
    graph = tf.Graph()
    with graph.as_default():
        values = v1.placeholder(tf.float32, shape)
        tf.import_graph_def(graph_def, input_map={placeholder: values}, name="")
    return known_shapes(graph.get_operations())


def with_shapes(node: Any, shapes: Iterable[tf.TensorShape]) -> Any:
    """`node`, a call, of which an import takes `shapes` for what it returns."""
    copy = v1.NodeDef()
    copy.CopyFrom(node)
    copy.attr[_NOT_INFERRED].b = True
    copy.attr[_SHAPES].list.shape.extend(shape.as_proto() for shape in shapes)
    return copy


def as_inferred(op: tf.Operation) -> None:
    """Take off the imported `op` what kept its shapes from being inferred."""
    clear_attribute(op, _NOT_INFERRED)
