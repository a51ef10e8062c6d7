"""Conv2DBackpropInput as a layer (transposed convolution): filter [kh, kw, out, in]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.handler import channel_axis, full_shape, text_attribute
from graphquant_core.handlers.advice import few_input_channels
from graphquant_core.layer import Layer, Skip

if TYPE_CHECKING:
    import tensorflow as tf


class Conv2DBackpropInputHandler:
    """Inputs (sizes, filter, activation): activation on port 2, output channels on axis 2."""

    name = "Conv2DBackpropInput"
    op_types = frozenset({"Conv2DBackpropInput"})

    def describe(self, op: tf.Operation) -> Layer | Skip:
        dilations = list(op.get_attr("dilations"))
        if any(dilation != 1 for dilation in dilations):
            return Skip(
                op.name,
                op.type,
                f"dilations ({dilations}) other than 1 cannot be quantised in a transposed "
                "convolution",
            )
        shape = full_shape(op.inputs[1])
        if shape is None:
            return Skip(op.name, op.type, "the shape of its filter is not static")
        data_format = text_attribute(op, "data_format")
        return Layer(
            op.name,
            op.type,
            activation_port=2,
            weight_port=1,
            weight_shape=shape,
            weight_channel_axes=(2,),
            weight_input_axis=3,
            output_channel_axis=channel_axis(data_format),
            input_channels=shape[3],
            data_format=data_format,
            advice=few_input_channels(shape[3]),
        )
