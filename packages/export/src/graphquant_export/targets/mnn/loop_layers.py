"""The layers in loops, which MNN's file has in float, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.graph.while_loops import IN_LOOP, WHILE_TYPES
from graphquant_core.layer import Skip
from graphquant_export.targets.mnn.layers import plan_for_mnn


def layers_in_loops(model: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> tuple[Skip, ...]:
    """Every layer of `model` that stands in a loop, with the reason why it stays float.

    Args:
        model: Frozen graph, its loops as they are.
        outputs: Names of its outputs.
    """
    pruned = GraphDefEditor(model).graph_def(outputs)
    if not any(node.op in WHILE_TYPES or node.op.endswith("Enter") for node in pruned.node):
        return ()
    plan = plan_for_mnn(import_frozen(pruned))
    return tuple(row for row in plan.skips if row.reason.endswith(IN_LOOP))
