"""AvgPool: linear in its activation, no weight; average pooling over [kh, kw]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.handler import channel_axis, size_at, text_attribute
from graphquant_core.layer import Layer, Skip

if TYPE_CHECKING:
    import tensorflow as tf


class AvgPoolHandler:
    """Activation on port 0."""

    name = "AvgPool"
    op_types = frozenset({"AvgPool"})

    def describe(self, op: tf.Operation) -> Layer | Skip:
        data_format = text_attribute(op, "data_format")
        axis = channel_axis(data_format)
        return Layer(
            op.name,
            op.type,
            activation_port=0,
            output_channel_axis=axis,
            input_channels=size_at(op.inputs[0], axis),
            data_format=data_format,
        )
