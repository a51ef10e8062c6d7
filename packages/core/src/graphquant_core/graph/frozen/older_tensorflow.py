"""What TensorFlow 1.15 doesn't know and doesn't need."""

from __future__ import annotations

import tensorflow as tf

_SEGMENTS = ("Tsegmentids", "sparse_gradient")
LATER_ATTRIBUTES = {
    "BatchMatMul": ("grad_x", "grad_y"),
    "BatchMatMulV2": ("grad_x", "grad_y"),
    "ConcatOffset": ("shape_type",),
    "DepthwiseConv2dNative": ("explicit_paddings",),
    "DepthwiseConv2dNativeBackpropInput": ("explicit_paddings",),
    "Dequantize": ("axis", "dtype", "narrow_range"),
    "FusedBatchNorm": ("exponential_avg_factor",),
    "FusedBatchNormV2": ("exponential_avg_factor",),
    "FusedBatchNormV3": ("exponential_avg_factor",),
    "GatherNd": ("bad_indices_policy",),
    "IRFFT": ("Tcomplex", "Treal"),
    "IRFFT2D": ("Tcomplex", "Treal"),
    "IRFFT3D": ("Tcomplex", "Treal"),
    "MatMul": ("grad_a", "grad_b"),
    "MaxPool": ("explicit_paddings",),
    "QuantizeAndDequantizeV2": ("axis",),
    "QuantizeAndDequantizeV3": ("axis",),
    "QuantizeV2": ("axis", "ensure_minimum_range", "narrow_range"),
    "RFFT": ("Tcomplex", "Treal"),
    "RFFT2D": ("Tcomplex", "Treal"),
    "RFFT3D": ("Tcomplex", "Treal"),
    "ScatterNd": ("bad_indices_policy",),
    "SparseSegmentMean": _SEGMENTS,
    "SparseSegmentMeanWithNumSegments": _SEGMENTS,
    "SparseSegmentSqrtN": _SEGMENTS,
    "SparseSegmentSqrtNWithNumSegments": _SEGMENTS,
    "SparseSegmentSum": _SEGMENTS,
    "SparseSegmentSumWithNumSegments": _SEGMENTS,
    "TopKV2": ("Tk", "index_type"),
}
"""Attributes that op types got after TensorFlow 1.15, for those that a frozen graph may hold."""


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
