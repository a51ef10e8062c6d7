"""What follows a layer and folds into it: bias, batch norm (fused or not), constant factors.

An unfused batch norm in inference mode is a multiplication and an addition by tensors that don't
depend on data, whichever way a framework writes it: Keras 3's
``x * (gamma * rsqrt(var + eps)) + (beta - mean * ...)`` and ``tf.nn.batch_normalization`` alike.
In training mode its factors depend on the batch, so that nothing here matches it.
"""

from __future__ import annotations

import attrs
import tensorflow as tf

from graphquant_core.graph.view import GraphView
from graphquant_core.handler import static_shape, text_attribute

FUSED_BATCH_NORM_TYPES = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
ADDING_TYPES = frozenset({"Add", "AddV2"})
SHAPING_TYPES = frozenset({"Identity", "Squeeze"})
ACTIVATION_TYPES = frozenset(
    {"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softmax"}
)


@attrs.frozen(eq=False)
class Shift:
    """y = x + sign * value, value constant along everything but the channels."""

    op: tf.Operation
    value: tf.Tensor
    sign: int
    output: tf.Tensor


@attrs.frozen(eq=False)
class Scale:
    """y = x * value, value constant along everything but the channels."""

    op: tf.Operation
    value: tf.Tensor
    output: tf.Tensor


@attrs.frozen(eq=False)
class BatchNorm:
    """y = (x - mean) * gamma / sqrt(variance + epsilon) + beta, one number for each channel."""

    op: tf.Operation
    gamma: tf.Tensor
    beta: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    epsilon: float
    output: tf.Tensor


@attrs.frozen(eq=False)
class PassThrough:
    """y = x, or x without axes of size 1."""

    op: tf.Operation
    output: tf.Tensor


Step = Shift | Scale | BatchNorm | PassThrough


def affine_tail(
    view: GraphView,
    tensor: tf.Tensor,
    channel_axis: int,
    channels: int,
    keep: frozenset[str] = frozenset(),
) -> tuple[Step, ...]:
    """The steps behind `tensor` that are per-channel affine, nearest first.

    Args:
        view: View of the graph.
        tensor: Output of a layer.
        channel_axis: Axis of the channels in `tensor`.
        channels: Size of that axis.
        keep: Names of ops whose outputs must stay available: no step goes past one.

    The tail ends at a tensor that several ops take, so that folding it changes nobody's input.
    A trailing PassThrough is never part of it.
    """
    rank = tensor.shape.rank
    if rank is None:
        return ()
    axis_from_end = rank - (channel_axis % rank)
    steps: list[Step] = []
    while tensor.op.name not in keep:
        consumers = view.consumers(tensor)
        if len(consumers) != 1:
            break
        step = _step(view, tensor, *consumers[0], axis_from_end, channels)
        if step is None:
            break
        if isinstance(step, PassThrough) and step.op.type == "Squeeze":
            squeezed = _axis_from_end_after_squeeze(tensor, step.output, axis_from_end)
            if squeezed is None:
                break
            axis_from_end = squeezed
        steps.append(step)
        tensor = step.output
    while steps and isinstance(steps[-1], PassThrough):
        steps.pop()
    return tuple(steps)


def following_activation(view: GraphView, tensor: tf.Tensor) -> tf.Operation | None:
    """The activation function that is the only consumer of `tensor`, if there is one."""
    consumers = view.consumers(tensor)
    if len(consumers) == 1 and consumers[0][0].type in ACTIVATION_TYPES:
        return consumers[0][0]
    return None


def _step(
    view: GraphView, x: tf.Tensor, op: tf.Operation, port: int, axis_from_end: int, channels: int
) -> Step | None:
    if op.type in FUSED_BATCH_NORM_TYPES and port == 0 and not op.get_attr("is_training"):
        gamma, beta, mean, variance = list(op.inputs)[1:5]
        if any(view.depends_on_data(value) for value in (gamma, beta, mean, variance)):
            return None
        epsilon = float(op.get_attr("epsilon"))
        return BatchNorm(op, gamma, beta, mean, variance, epsilon, op.outputs[0])
    if op.type in SHAPING_TYPES:
        return PassThrough(op, op.outputs[0])
    if op.type == "BiasAdd" and port == 0:
        expected = 3 if text_attribute(op, "data_format") == "NCHW" and x.shape.rank == 4 else 1
        other = op.inputs[1]
        if axis_from_end == expected and not view.depends_on_data(other):
            return Shift(op, other, 1, op.outputs[0])
        return None
    if op.type not in ADDING_TYPES | {"Sub", "Mul"} or len(op.inputs) != 2:
        return None
    other = op.inputs[1 - port]
    if view.depends_on_data(other) or not _is_channel_vector(other, x, axis_from_end, channels):
        return None
    if op.type == "Mul":
        return Scale(op, other, op.outputs[0])
    if op.type == "Sub":
        return Shift(op, other, -1, op.outputs[0]) if port == 0 else None
    return Shift(op, other, 1, op.outputs[0])


def _is_channel_vector(value: tf.Tensor, x: tf.Tensor, axis_from_end: int, channels: int) -> bool:
    """Whether `value` broadcasts against `x` along the channel axis only."""
    shape = static_shape(value)
    if shape is None or x.shape.rank is None or len(shape) > x.shape.rank:
        return False
    return all(
        size == 1 or (size == channels and len(shape) - position == axis_from_end)
        for position, size in enumerate(shape)
    )


def _axis_from_end_after_squeeze(
    before: tf.Tensor, after: tf.Tensor, axis_from_end: int
) -> int | None:
    """Where the channel axis stands once axes of size 1 are gone; None when that is unknown."""
    rank = before.shape.rank
    squeezed = [axis % rank for axis in after.op.get_attr("squeeze_dims")] if rank else []
    if not squeezed or rank is None:
        return None
    channel_axis = rank - axis_from_end
    if channel_axis in squeezed:
        return None
    return axis_from_end - sum(1 for axis in squeezed if axis > channel_axis)
