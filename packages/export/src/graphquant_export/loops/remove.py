"""The graph for a runtime that takes no loop."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.graph.while_loops import WHILE_TYPES
from graphquant_export.loops.piece import ENTER_TYPES, without_control_edges
from graphquant_export.loops.unroll import unroll
from graphquant_export.loops.values import OpenLoopError
from graphquant_export.rewriting import rewrite
from graphquant_export.rewriting.static_size import PART_OF_SHAPE, SHAPE

_LOOPS = WHILE_TYPES | ENTER_TYPES


def without_loops(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], target: str
) -> tf.compat.v1.GraphDef:
    """`graph_def` with the steps of its loops one after the other; itself when it has no loop.

    Each tensor outside of the loops keeps its name and its value. What is the same in all steps,
    such as a weight, is there once.

    Args:
        graph_def: A frozen graph.
        outputs: Names of its outputs.
        target: What takes no loop.

    Raises:
        UnsupportedLayerError: How many steps a loop makes, or something else of it, isn't static;
            names the loop and says what.
    """
    if not any(node.op in _LOOPS for node in graph_def.node):
        return graph_def
    current = without_control_edges(graph_def)
    while True:
        # What stands behind a loop has static shapes only once the loop is gone.
        current = rewrite(current, outputs, (SHAPE, PART_OF_SHAPE))
        try:
            unrolled = unroll(current, outputs)
        except OpenLoopError as error:
            raise _refusal("a loop", target, str(error)) from error
        current = unrolled.graph_def
        if not unrolled.open:
            return current
        if not unrolled.done:
            name, (op_type, reason) = next(iter(unrolled.open.items()))
            raise _refusal(f'the loop "{name}" ({op_type})', target, reason)


def _refusal(loop: str, target: str, reason: str) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        f"{loop} cannot be written out, and {target} takes no loop: {reason}; give the inputs "
        "static lengths (input_shapes=), or let the model begin behind it (inputs=)"
    )
