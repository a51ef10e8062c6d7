"""What TensorFlow 1.15 doesn't know and doesn't need."""

from __future__ import annotations

import tensorflow as tf

LATER_ATTRIBUTES = {
    "BatchMatMul": ("grad_x", "grad_y"),
    "BatchMatMulV2": ("grad_x", "grad_y"),
    "DepthwiseConv2dNative": ("explicit_paddings",),
    "FusedBatchNorm": ("exponential_avg_factor",),
    "FusedBatchNormV2": ("exponential_avg_factor",),
    "FusedBatchNormV3": ("exponential_avg_factor",),
    "MatMul": ("grad_a", "grad_b"),
    "MaxPool": ("explicit_paddings",),
}
"""Attributes that op types got after TensorFlow 1.15."""


def strip_later_attributes(graph_def: tf.compat.v1.GraphDef, graph: tf.Graph) -> None:
    """Removes from `graph_def` the attributes of `LATER_ATTRIBUTES` that have their default.

    TensorFlow 1.15 refuses a node with an attribute that it doesn't know; later versions fill the
    default in.

    Args:
        graph_def: The nodes to change.
        graph: The same nodes, imported.
    """
    for node in graph_def.node:
        later = LATER_ATTRIBUTES.get(node.op, ())
        if not later:
            continue
        for attribute in graph.get_operation_by_name(node.name).op_def.attr:
            name = attribute.name
            if name in later and node.attr.get(name) == attribute.default_value:
                del node.attr[name]
