"""Conv3D for graphquant: input [N, D, H, W, C], filter [kd, kh, kw, C / groups, out]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core import Layer, Skip, hookimpl
from graphquant_core.handler import full_shape, text_attribute

if TYPE_CHECKING:
    import tensorflow as tf


class Conv3DHandler:
    """Filter on port 1, one output channel for each index of its last axis."""

    name = "Conv3D"
    op_types = frozenset({"Conv3D"})

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
            weight_channel_axes=(4,),
            output_channel_axis=1 if data_format == "NCDHW" else 4,
            data_format=data_format,
        )


@hookimpl
def graphquant_layer_handlers() -> list[Conv3DHandler]:
    """The handler of Conv3D."""
    return [Conv3DHandler()]
