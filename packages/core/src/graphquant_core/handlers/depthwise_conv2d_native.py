"""DepthwiseConv2dNative: filter [kh, kw, C, multiplier], C * multiplier output channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.handler import channel_axis, full_shape, text_attribute
from graphquant_core.handlers.advice import few_input_channels
from graphquant_core.layer import Layer, Skip

if TYPE_CHECKING:
    import tensorflow as tf


class DepthwiseConv2dNativeHandler:
    """Filter on port 1; output channel c * multiplier + m has filter[:, :, c, m]."""

    name = "DepthwiseConv2dNative"
    op_types = frozenset({"DepthwiseConv2dNative"})

    def describe(self, op: tf.Operation) -> Layer | Skip:
        shape = full_shape(op.inputs[1])
        if shape is None:
            return Skip(op.name, op.type, "the shape of its filter is not static")
        data_format = text_attribute(op, "data_format")
        return Layer(
            op.name,
            op.type,
            activation_port=0,
            weight_port=1,
            weight_shape=shape,
            weight_channel_axes=(2, 3),
            weight_input_axis=2,
            output_channel_axis=channel_axis(data_format),
            input_channels=shape[2],
            data_format=data_format,
            advice=few_input_channels(shape[2]),
        )
