"""What MNN multiplies a weight by before it quantises it: the batch norm that it folds in."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph import BatchNorm, GraphView, PassThrough, Shift, affine_tail
from graphquant_core.graph.affine import FUSED_BATCH_NORM_TYPES
from graphquant_core.graph.moving_averages import find_moving_averages
from graphquant_core.layer import Layer


def folded_factor(view: GraphView, layer: Layer) -> tf.Tensor | str | None:
    """gamma / sqrt(variance + epsilon) of the batch norm behind `layer`, float32 ``[out]``.

    For a batch norm in training mode, variance is the moving average that inference will use.
    ``None`` when there is no batch norm; a sentence when there is one whose moving variance
    can't be found.
    """
    tensor = view.graph.get_operation_by_name(layer.name).outputs[0]
    channels = layer.output_channels or 0
    for step in affine_tail(view, tensor, layer.output_channel_axis, channels):
        if isinstance(step, BatchNorm):
            return _factor(step.gamma, step.variance, step.epsilon)
        if not isinstance(step, PassThrough) and not (isinstance(step, Shift) and step.sign > 0):
            return None
        tensor = step.output
    consumers = view.consumers(tensor)
    while len(consumers) == 1 and consumers[0][0].type == "Identity":
        consumers = view.consumers(consumers[0][0].outputs[0])
    for op, port in consumers:
        if op.type in FUSED_BATCH_NORM_TYPES and port == 0 and op.get_attr("is_training"):
            for average in find_moving_averages(view):
                if average.batch is op.outputs[2]:
                    return _factor(op.inputs[1], _value(average.variable), op.get_attr("epsilon"))
            return (
                f'the batch norm "{op.name}" behind it has no moving variance that an op updates, '
                "and MNN's groups of a transposed convolution depend on it"
            )
    return None


def _factor(gamma: tf.Tensor, variance: tf.Tensor, epsilon: float) -> tf.Tensor:
    return tf.stop_gradient(gamma * tf.math.rsqrt(variance + epsilon))


def _value(variable: tf.Operation) -> tf.Tensor:
    if variable.type != "VarHandleOp":
        return tf.identity(variable.outputs[0])
    dtype = variable.get_attr("dtype")
    return tf.raw_ops.ReadVariableOp(resource=variable.outputs[0], dtype=dtype)
