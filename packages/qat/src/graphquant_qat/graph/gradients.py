"""Gradients that TensorFlow doesn't have, registered once under names of ours.

A graph op carries the name of its gradient; freezing keeps it, and importing ignores it. Only
tf.gradients on an imported training graph needs this module to be imported first.

The backward pass also keeps the start values that the forward pass finds. Only training may change
variables: so a graph that is frozen for inference holds no assignment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.graph.function_call import choose
from graphquant_core.graph.replica import current_replica
from graphquant_qat.graph.functions import keeping

ULQ = "GraphquantUlq"
SEARCHED_RANGE = "GraphquantSearchedRange"
BOUNDED_RANGE = "GraphquantBoundedRange"
LEARNED_SCALE = "GraphquantLearnedScale"
NO_GRADIENT = "GraphquantNoGradient"
STRAIGHT_THROUGH = "Identity"


def ulq_gradient(op: tf.Operation, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """dx = g inside, d max = sum g (e + above), d min = sum g (below - e): AMCT's ULQ.

    `op` is a FakeQuantWithMinMaxVars; e = (round(v) - v) / levels with v = clip(x) / scale. The
    kernel's own gradient gives dx, sum g above and sum g below. Outside, e is the same number for
    both sides: what rounding the zero point adds, over the levels.
    """
    x, low, high = op.inputs
    bits, narrow = op.get_attr("num_bits"), op.get_attr("narrow_range")
    levels = float(2**bits - 1 - int(narrow))
    dx, below, above = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(
        gradients=upstream, inputs=x, min=low, max=high, num_bits=bits, narrow_range=narrow
    )
    zero = low * levels / (high - low)
    outside = (tf.round(zero) - zero) / levels * (below + above)
    error = tf.reduce_sum(dx * (op.outputs[0] - x)) / (high - low) + outside
    return dx, below - error, above + error


def _searched_range(
    op: tf.Operation, low: tf.Tensor, high: tf.Tensor, _: tf.Tensor | None
) -> tuple[None, tf.Tensor, tf.Tensor, None]:
    """Of (values, low, high, seen): past the bounds, so that a range can come back from them."""
    _, stored_low, stored_high, seen = op.inputs
    found_low, found_high, searching = op.outputs
    pairs = [(stored_low, found_low), (stored_high, found_high)]
    with tf.control_dependencies(_keep(pairs, searching, seen)):
        return None, tf.identity(low), tf.identity(high), None


def _bounded_range(_: tf.Operation, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of (low, high): past the bounds."""
    return low, high


def _learned_scale(
    op: tf.Operation, upstream: tf.Tensor, _: tf.Tensor | None
) -> tuple[None, tf.Tensor, None, None]:
    """Of (start, stored, seen, rate): the gradient belongs to what is stored, times rate."""
    _, stored, seen, rate = op.inputs
    scale, searching = op.outputs
    with tf.control_dependencies(_keep([(stored, scale)], searching, seen)):
        return None, upstream * rate, None, None


def _no_gradient(op: tf.Operation, *_: tf.Tensor | None) -> list[None]:
    return [None for _ in op.inputs]


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
    assign, nothing = keeping(len(stored))
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
    registered = {
        ULQ: ulq_gradient,
        SEARCHED_RANGE: _searched_range,
        BOUNDED_RANGE: _bounded_range,
        LEARNED_SCALE: _learned_scale,
        NO_GRADIENT: _no_gradient,
    }
    for name, gradient in registered.items():
        with contextlib.suppress(KeyError):  # registered before, by an import that was reloaded
            tf.RegisterGradient(name)(gradient)


_register()
