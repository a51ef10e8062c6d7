"""Which op of a graph MNN's converter crashes at, found by converting ever smaller parts of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen


def first_crash(
    graph_def: tf.compat.v1.GraphDef, crashes: Callable[[tf.compat.v1.GraphDef], bool]
) -> tf.Operation | None:
    """The first op, in the order of the graph, with which a part that begins at the inputs crashes.

    Takes about log2(ops) conversions.

    Args:
        graph_def: A frozen graph.
        crashes: Whether the converter crashes with a part of it.
    """
    view = GraphView(import_frozen(graph_def))
    operations = [op for op in view.operations if _computes(view, op)]
    works, fails = 0, len(operations)
    while fails - works > 1:
        middle = (works + fails) // 2
        part = GraphDefEditor(graph_def).graph_def(_ends(view, operations[:middle]))
        if crashes(part):
            fails = middle
        else:
            works = middle
    return operations[fails - 1] if operations else None


def _computes(view: GraphView, op: tf.Operation) -> bool:
    if op.type.startswith("Placeholder"):
        return False
    return any(view.depends_on_data(tensor) for tensor in op.outputs)


def _ends(view: GraphView, operations: Sequence[tf.Operation]) -> list[str]:
    """Names of those of `operations` that none of them takes."""
    known = set(operations)
    return [
        str(op.name)
        for op in operations
        if not any(taker in known for tensor in op.outputs for taker, _ in view.consumers(tensor))
    ]
