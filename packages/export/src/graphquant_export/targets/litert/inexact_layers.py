"""Layers of which LiteRT has no int8 kernel that rounds once: they compute with floats.

AVERAGE_POOL_2D returns int8 on the grid of its input. Where no window reaches beyond the image,
other operators return the grid that is wanted. So they do for a transposed convolution whose result
has no constant shape, unless that of the image isn't known either.
"""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph.frozen import import_frozen
from graphquant_core.handler import text_attribute
from graphquant_export.quantized.simulate import SimulatedGraph

_PADDED = "LiteRT has no kernel that rounds an average over padding once"
_UNKNOWN_SIZE = (
    "LiteRT has no kernel that rounds a transposed convolution once whose height and width are not "
    "static: give the placeholder a height and a width"
)
VALUE_PORT = 2
"""Input of a transposed convolution that is convolved."""


def inexact_layers(simulated: SimulatedGraph) -> dict[str, str]:
    """Names of such layers of `simulated`, and why they are."""
    graph = import_frozen(simulated.graph_def)
    found: dict[str, str] = {}
    for layer in simulated.layers:
        op = graph.get_operation_by_name(layer.node)
        if op.type == "AvgPool" and _is_padded(op):
            found[layer.name] = _PADDED
        elif op.type == "Conv2DBackpropInput" and not _has_static_size(op):
            found[layer.name] = _UNKNOWN_SIZE
    return found


def _axes(op: tf.Operation) -> slice:
    """The axes of height and width."""
    return slice(2, 4) if text_attribute(op, "data_format") == "NCHW" else slice(1, 3)


def _is_padded(op: tf.Operation) -> bool:
    if text_attribute(op, "padding") == "VALID":
        return False
    axes, shape = _axes(op), op.inputs[0].shape
    sizes = [None, None] if shape.rank is None else shape.as_list()[axes]
    window, strides = (list(op.get_attr(name))[axes] for name in ("ksize", "strides"))
    return any(
        size is None or (-(-size // stride) - 1) * stride + length > size
        for size, length, stride in zip(sizes, window, strides, strict=True)
    )


def _has_static_size(op: tf.Operation) -> bool:
    shapes = op.outputs[0].shape, op.inputs[VALUE_PORT].shape
    return all(
        shape.rank is not None and None not in shape.as_list()[_axes(op)] for shape in shapes
    )
