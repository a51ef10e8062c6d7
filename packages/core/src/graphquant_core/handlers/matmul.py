"""MatMul: activation [N, in] times weight [in, out]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.handler import full_shape, size_at
from graphquant_core.layer import Layer, Skip

if TYPE_CHECKING:
    import tensorflow as tf


class MatMulHandler:
    """Weight on port 1, neither side transposed, as Ascend's compiler wants it."""

    name = "MatMul"
    op_types = frozenset({"MatMul"})

    def describe(self, op: tf.Operation) -> Layer | Skip:
        for side in ("transpose_a", "transpose_b"):
            if op.get_attr(side):
                return Skip(op.name, op.type, f"{side} (True) must be False to be quantised")
        shape = full_shape(op.inputs[1])
        if shape is None:
            return Skip(op.name, op.type, "the shape of its second input is not static")
        return Layer(
            op.name,
            op.type,
            activation_port=0,
            weight_port=1,
            weight_shape=shape,
            weight_channel_axes=(1,),
            weight_input_axis=0,
            output_channel_axis=1,
            input_channels=size_at(op.inputs[0], 1) or shape[0],
            one_weight_scale=True,
        )
