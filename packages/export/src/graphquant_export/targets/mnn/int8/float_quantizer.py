"""A fake quantiser in ops that MNN's converter knows."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_export.targets.mnn.int8.activation_grid import HIGHEST, LOWEST, ActivationGrid


def put_on_grid(editor: GraphDefEditor, scope: str, x: str, grid: ActivationGrid) -> str:
    """Adds clip(round(x / scale), -128 - zero, 127 - zero) * scale; the name of its last node.

    Args:
        editor: The graph to change.
        scope: Start of the names of the nodes.
        x: The tensor.
        grid: Its grid.
    """
    scale = np.float32(grid.scale)
    steps = (
        ("Mul", "steps", np.float32(1) / scale),
        ("Round", "codes", None),
        ("Maximum", "above", np.float32(LOWEST - grid.zero)),
        ("Minimum", "below", np.float32(HIGHEST - grid.zero)),
        ("Mul", "on_grid", scale),
    )
    for op_type, ending, constant in steps:
        inputs = [x]
        if constant is not None:
            name = editor.unique_name(f"{scope}/{ending}_constant")
            inputs.append(editor.add(const_node(name, constant)))
        name = editor.unique_name(f"{scope}/{ending}")
        x = editor.add(node_def(name, op_type, inputs, T=tf.float32))
    return x
