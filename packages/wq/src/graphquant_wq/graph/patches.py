"""What the weights of a layer are multiplied by: its inputs, one row for each result."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.handler import text_attribute
from graphquant_core.layer import Layer
from graphquant_export.targets.mnn.op_names import conv_groups

Array = npt.NDArray[Any]

_TO_ROWS = {
    "Conv2D": (3, 0, 1, 2),
    "DepthwiseConv2dNative": (2, 3, 0, 1),
    "Conv2DBackpropInput": (2, 0, 1, 3),
}
"""Order of a weight's axes with the output channels first, then its inputs."""


def input_blocks(layer: Layer) -> int:
    """Into how many blocks the output channels fall that take different inputs."""
    if layer.op_type == "DepthwiseConv2dNative":
        return layer.output_channels or 1
    return conv_groups(layer)


def rows_of(layer: Layer, weight: Array) -> Array:
    """`weight` as ``[B, R, K]``: the K weights of each of the R output channels of B blocks."""
    return np.ascontiguousarray(weight.transpose(_order(layer))).reshape(
        input_blocks(layer), -1, layer.fan_in or 1
    )


def weight_of(layer: Layer, rows: Array) -> Array:
    """The inverse of `rows_of`."""
    order, shape = _order(layer), layer.weight_shape or ()
    stored = rows.reshape([shape[axis] for axis in order])
    return np.ascontiguousarray(stored.transpose(np.argsort(order)))


def patches(layer: Layer, op: tf.Operation) -> tf.Tensor:
    """What the weights of `layer` are multiplied by, ``[positions, B, K]``.

    A MatMul takes its rows as they are; of a convolution it is what the op returns when each
    weight, in turn, is 1 and all others are 0.
    """
    activation = op.inputs[layer.activation_port]
    blocks, size = input_blocks(layer), layer.fan_in or 1
    if layer.op_type == "Conv2D" and blocks == 1:
        height, width = (layer.weight_shape or ())[:2]
        activation = tf.image.extract_patches(
            activation,
            [1, height, width, 1],
            op.get_attr("strides"),
            op.get_attr("dilations"),
            text_attribute(op, "padding"),
        )
    elif layer.op_type != "MatMul":
        activation = _with_identity(layer, op, size)
    return tf.reshape(activation, [-1, blocks, size])


def _with_identity(layer: Layer, op: tf.Operation, size: int) -> tf.Tensor:
    """What `op` returns with a weight that hands each of its `size` inputs on by itself."""
    shape = layer.weight_shape or ()
    eye = np.eye(size, dtype=np.float32)
    inputs = list(op.inputs)
    if layer.op_type == "Conv2DBackpropInput":
        weight = eye.reshape(*shape[:2], shape[3], size).transpose(0, 1, 3, 2)
        inputs[0] = tf.concat([op.inputs[0][:3], [size]], 0)
    elif layer.op_type == "Conv2D":
        weight = np.tile(eye.reshape(*shape[:3], size), conv_groups(layer))
    else:
        weight = np.tile(eye.reshape(*shape[:2], 1, size), (1, 1, shape[2], 1))
    inputs[layer.weight_port or 0] = tf.constant(weight)
    names = [argument.name for argument in op.op_def.input_arg]
    attributes = {
        attribute.name: op.get_attr(attribute.name)
        for attribute in op.op_def.attr
        if attribute.type != "type"
    }
    return getattr(tf.raw_ops, op.type)(**dict(zip(names, inputs, strict=True)), **attributes)


def _order(layer: Layer) -> tuple[int, ...]:
    if layer.op_type == "MatMul":
        return (0, 1) if layer.weight_channel_axes == (0,) else (1, 0)
    return _TO_ROWS[layer.op_type]
