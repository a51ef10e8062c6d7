"""Average poolings that leave out padding, of which LiteRT has no kernel that rounds once.

AVERAGE_POOL_2D returns int8 on the grid of its input. Where no window reaches beyond the image,
other operators return the grid that is wanted; where one does, the pooling computes with floats.
"""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph.frozen import import_frozen
from graphquant_core.handler import text_attribute
from graphquant_export.quantized.simulate import SimulatedGraph


def padded_pools(simulated: SimulatedGraph) -> frozenset[str]:
    """Names of the layers of `simulated` that are average poolings over padding."""
    graph = import_frozen(simulated.graph_def)
    return frozenset(
        layer.name
        for layer in simulated.layers
        if layer.op_type == "AvgPool" and _is_padded(graph.get_operation_by_name(layer.node))
    )


def _is_padded(op: tf.Operation) -> bool:
    if text_attribute(op, "padding") == "VALID":
        return False
    axes = slice(2, 4) if text_attribute(op, "data_format") == "NCHW" else slice(1, 3)
    shape = op.inputs[0].shape
    sizes = [None, None] if shape.rank is None else shape.as_list()[axes]
    window, strides = (list(op.get_attr(name))[axes] for name in ("ksize", "strides"))
    return any(
        size is None or (-(-size // stride) - 1) * stride + length > size
        for size, length, stride in zip(sizes, window, strides, strict=True)
    )
