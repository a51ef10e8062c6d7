"""Applies rules to a frozen graph."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site


def rewrite(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], rules: Sequence[Rule]
) -> tf.compat.v1.GraphDef:
    """`graph_def` with every op to which a rule applies in other ops; itself without such an op.

    Each tensor keeps its name and its value, up to float32 rounding.

    Args:
        graph_def: A frozen graph.
        outputs: Names of its outputs.
        rules: What is applied; the first one that fits an op counts.
    """
    wanted = {op_type for rule in rules for op_type in rule.op_types}
    if not any(node.op in wanted for node in graph_def.node):
        return graph_def
    view = GraphView(import_frozen(graph_def))
    editor = GraphDefEditor(graph_def)
    changed = False
    for op in view.operations:
        for rule in rules if op.type in wanted else ():
            last = rule.last(Site(editor, op, view)) if op.type in rule.op_types else None
            if last is not None:
                last.name = op.name
                last.input.extend(name for name in op.node_def.input if name.startswith("^"))
                editor.replace(last)
                changed = True
                break
    return editor.graph_def(outputs) if changed else graph_def
