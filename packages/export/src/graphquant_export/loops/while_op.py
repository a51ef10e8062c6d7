"""While ops, whose condition and body are functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from graphquant_core.graph.function_body import function_body
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
    body = function_body(graph, functions[name])
    return piece_of(body.graph_def, body.arguments, body.results, functions)
