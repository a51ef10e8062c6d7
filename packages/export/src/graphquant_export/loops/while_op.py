"""While ops, whose condition and body are functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

# It has no public counterpart, and is the same in TensorFlow 2.16 to 2.21.
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

from graphquant_export.loops.loop import Loop
from graphquant_export.loops.piece import Piece, piece_of


def loop_of(op: tf.Operation, functions: Mapping[str, Any]) -> Loop:
    """The loop that `op`, a While, is.

    Args:
        op: The op.
        functions: The functions of its graph, by name.
    """
    condition, body = (
        _function(op.graph, functions, op.get_attr(name).name) for name in ("cond", "body")
    )
    entries = tuple((op.name, port) for port in range(len(op.inputs)))
    return Loop(op.name, op.type, entries, tuple(op.inputs), condition, body, tuple(op.outputs))


def _function(graph: tf.Graph, functions: Mapping[str, Any], name: str) -> Piece:
    definition = functions[name]
    # It looks up in the default graph what ops are called.
    with graph.as_default():
        graph_def, names = function_def_to_graph_def(definition)
    arguments = [f"{argument.name}:0" for argument in definition.signature.input_arg]
    returned = [definition.ret[result.name] for result in definition.signature.output_arg]
    return piece_of(graph_def, arguments, [names[name] for name in returned], functions)
