"""Conv2D: input [N, H, W, C] or [N, C, H, W], filter [kh, kw, C / groups, out]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.handler import channel_axis, full_shape, size_at, text_attribute
from graphquant_core.handlers.advice import few_input_channels
from graphquant_core.layer import Layer, Skip

if TYPE_CHECKING:
    import tensorflow as tf


class Conv2DHandler:
    """Filter on port 1, one output channel for each index of its last axis."""

    name = "Conv2D"
    op_types = frozenset({"Conv2D"})

    def describe(self, op: tf.Operation) -> Layer | Skip:
        shape = full_shape(op.inputs[1])
        if shape is None:
            return Skip(op.name, op.type, "the shape of its filter is not static")
        data_format = text_attribute(op, "data_format")
        axis = channel_axis(data_format)
        channels = size_at(op.inputs[0], axis)
        return Layer(
            op.name,
            op.type,
            activation_port=0,
            weight_port=1,
            weight_shape=shape,
            weight_channel_axes=(3,),
            weight_input_axis=2 if channels == shape[2] else None,
            output_channel_axis=axis,
            input_channels=channels,
            data_format=data_format,
            advice=few_input_channels(channels if channels is not None else shape[2]),
        )
