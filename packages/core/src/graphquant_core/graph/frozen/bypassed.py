"""Activation functions that a training graph leaves to its quantisers, put back.

An inference graph keeps them. So this changes frozen training graphs only.
"""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph.rewire import BYPASSED_ATTRIBUTE


def with_activations(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """`graph_def` with an op of the type in front of every quantiser that computes it itself.

    It is called ``<input of the quantiser>/<type>``. What the graph computes stays the same, also
    where the quantiser is taken out. `graph_def` itself where there is none.
    """
    if not any(BYPASSED_ATTRIBUTE in node.attr for node in graph_def.node):
        return graph_def
    whole = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        entry = whole.node.add()
        entry.CopyFrom(node)
        if BYPASSED_ATTRIBUTE in node.attr:
            op_type = node.attr[BYPASSED_ATTRIBUTE].s.decode()
            function = tf.compat.v1.NodeDef(
                name=f"{node.name}/{op_type}", op=op_type, input=node.input[:1], device=node.device
            )
            function.attr["T"].CopyFrom(node.attr["T"])
            entry.input[0] = function.name
            del entry.attr[BYPASSED_ATTRIBUTE]
            whole.node.append(function)
    return whole
