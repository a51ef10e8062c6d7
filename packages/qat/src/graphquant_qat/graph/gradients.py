"""Gradients that TensorFlow doesn't have, registered once under names of ours.

A graph op carries the name of its gradient; freezing keeps it, and importing ignores it. Only
tf.gradients on an imported training graph needs this module to be imported first.

The backward pass also keeps the start values that the forward pass finds. Only training may change
variables: so a graph that is frozen for inference holds no assignment.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from graphquant_core.graph.function_call import call, choose
from graphquant_core.graph.replica import current_replica
from graphquant_qat.graph import functions
from graphquant_qat.graph.computed_again import computed_again

ULQ = "GraphquantUlq"
ULQ_TO_6 = "GraphquantUlqTo6"
SEARCHED_RANGE = "GraphquantSearchedRange"
SEARCHED_RANGE_TO_6 = "GraphquantSearchedRangeTo6"
BOUNDED_RANGE = "GraphquantBoundedRange"
BOUNDED_RANGE_TO_6 = "GraphquantBoundedRangeTo6"
LEARNED_SCALE = "GraphquantLearnedScale"
NO_GRADIENT = "GraphquantNoGradient"
ROUNDED_BIAS = "GraphquantRoundedBias"
STRAIGHT_THROUGH = "Identity"
FIRST_ONLY = "GraphquantFirstOnly"

Gradient = Callable[..., Sequence[tf.Tensor | None]]


def ulq_gradient(ceiling: float = math.inf) -> Gradient:
    """dx = g inside, and of the clips: `graphquant_qat.graph.functions.clip_gradient`."""

    def gradient(op: tf.Operation, upstream: tf.Tensor) -> list[tf.Tensor]:
        x, low, high = op.inputs
        bits, narrow = op.get_attr("num_bits"), op.get_attr("narrow_range")
        function = functions.clip_gradient(bits, narrow, ceiling)
        return call(function, [upstream, x, computed_again(op), low, high], name="clip_gradient")

    return gradient


def _searched_range(ceiling: float) -> Gradient:
    """Of (values, low, high, seen): past the bounds, so that a range can come back from them."""

    def gradient(
        op: tf.Operation, low: tf.Tensor, high: tf.Tensor, _: tf.Tensor | None
    ) -> list[tf.Tensor | None]:
        _, stored_low, stored_high, seen = op.inputs
        found_low, found_high, searching = op.outputs
        pairs = [(stored_low, found_low), (stored_high, found_high)]
        with tf.control_dependencies(_keep(pairs, searching, seen)):
            return [None, tf.identity(low), _inward(high, stored_high, ceiling), None]

    return gradient


def _bounded_range(ceiling: float) -> Gradient:
    """Of (low, high): past the bounds."""

    def gradient(op: tf.Operation, low: tf.Tensor, high: tf.Tensor) -> list[tf.Tensor | None]:
        return [low, _inward(high, op.inputs[1], ceiling)]

    return gradient


def _inward(gradient: tf.Tensor, stored: tf.Tensor, ceiling: float) -> tf.Tensor:
    """`gradient` of an upper end, without what would push it further beyond `ceiling`."""
    if ceiling == math.inf:
        return tf.identity(gradient)
    return tf.where(stored > ceiling, tf.maximum(gradient, 0.0), gradient)


def _learned_scale(
    op: tf.Operation, upstream: tf.Tensor, _: tf.Tensor | None
) -> tuple[None, tf.Tensor, None, None]:
    """Of (start, stored, seen, rate): the gradient belongs to what is stored, times rate."""
    _, stored, seen, rate = op.inputs
    scale, searching = op.outputs
    with tf.control_dependencies(_keep([(stored, scale)], searching, seen)):
        return None, upstream * rate, None, None


def _first_only(op: tf.Operation, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    """Of what multiplies or divides its first input by a scale: g, for straight-through codes."""
    return [upstream, *(None for _ in op.inputs[1:])]


def _no_gradient(op: tf.Operation, *_: tf.Tensor | None) -> list[None]:
    return [None for _ in op.inputs]


def _rounded_bias(op: tf.Operation, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    """Of (value, ...): straight through."""
    return [upstream, *[None for _ in op.inputs[1:]]]


def _keep(
    pairs: Sequence[tuple[tf.Tensor, tf.Tensor]], searching: tf.Tensor, seen: tf.Tensor
) -> list[tf.Operation]:
    """Ops that, while `searching`, assign (read of a variable, value) pairs and count the batch.

    Gradients of the variables wait for them, so that an optimizer's update comes after.
    """
    stored = [(_variable_behind(read), value) for read, value in pairs]
    stored = [(variable, value) for variable, value in stored if variable is not None]
    variables = [variable for variable, _ in stored]
    values = [value for _, value in stored]
    if current_replica() is not None:
        values, searching = _mean_of_replicas(values, searching)
    arguments = [*variables, *values, _variable_behind(seen), seen]
    assign, nothing = functions.keeping(len(stored))
    return [choose(searching, assign, nothing, arguments, stateful=True)]


def _mean_of_replicas(
    values: Sequence[tf.Tensor], searching: tf.Tensor
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Replicas see different batches; what they store must be the same: the mean of what is found.

    A replica whose batch is empty finds nothing, and stores what the others did.
    """
    context = tf.distribute.get_replica_context()
    found = tf.cast(searching, tf.float32)
    *sums, count = context.all_reduce(
        tf.distribute.ReduceOp.SUM, [*(value * found for value in values), found]
    )
    return [total / tf.maximum(count, 1.0) for total in sums], count > 0


def _variable_behind(value: tf.Tensor) -> tf.Tensor | None:
    """The resource that `value` was read from; ``None`` for a constant."""
    while value.dtype != tf.resource:
        if not value.op.inputs:
            return None
        value = value.op.inputs[0]
    return value


def _register() -> None:
    registered: dict[str, Gradient] = {
        ULQ: ulq_gradient(),
        ULQ_TO_6: ulq_gradient(6.0),
        SEARCHED_RANGE: _searched_range(math.inf),
        SEARCHED_RANGE_TO_6: _searched_range(6.0),
        BOUNDED_RANGE: _bounded_range(math.inf),
        BOUNDED_RANGE_TO_6: _bounded_range(6.0),
        LEARNED_SCALE: _learned_scale,
        NO_GRADIENT: _no_gradient,
        FIRST_ONLY: _first_only,
        ROUNDED_BIAS: _rounded_bias,
    }
    for name, gradient in registered.items():
        with contextlib.suppress(KeyError):  # registered before, by an import that was reloaded
            tf.RegisterGradient(name)(gradient)


_register()
