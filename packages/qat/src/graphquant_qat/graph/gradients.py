"""Gradients that TensorFlow doesn't have, registered once under names of ours.

A graph op carries the name of its gradient; freezing keeps it, and importing ignores it. Only
tf.gradients on an imported training graph needs this module to be imported first.
"""

from __future__ import annotations

import contextlib

import tensorflow as tf

from graphquant_core.graph.control_flow import carried_from
from graphquant_core.graph.replica import current_replica

ULQ = "GraphquantUlq"
FIRST = "GraphquantFirstInput"
STORED = "GraphquantStoredValue"
STARTED = "GraphquantStartedValue"
STRAIGHT_THROUGH = "Identity"


def ulq_gradient(op: tf.Operation, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """dx = g inside, d max = sum g (e + above), d min = sum g (below - e): AMCT's ULQ.

    `op` is a FakeQuantWithMinMaxVars; e = (round(v) - v) / levels with v = clip(x) / scale. The
    kernel's own gradient gives dx, sum g above and sum g below. Outside, e is the same number for
    both sides: what rounding the zero point adds, over the levels.
    """
    x, low, high = op.inputs
    levels = float(2 ** op.get_attr("num_bits") - 1 - int(op.get_attr("narrow_range")))
    with tf.control_dependencies(store_start_range(op)):
        dx, below, above = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(
            gradients=upstream,
            inputs=x,
            min=low,
            max=high,
            num_bits=op.get_attr("num_bits"),
            narrow_range=op.get_attr("narrow_range"),
        )
    zero = low * levels / (high - low)
    outside = (tf.round(zero) - zero) / levels * (below + above)
    error = tf.reduce_sum(dx * (op.outputs[0] - x)) / (high - low) + outside
    return dx, below - error, above + error


def store_start_range(op: tf.Operation) -> list[tf.Operation]:
    """Ops that keep the range which the forward pass found, while it still searches.

    They belong to the backward pass, because only training may change variables: a graph that is
    frozen for inference holds no assignment. The gradients of the range wait for them, so that
    an optimizer's update comes after.
    """
    bounds = [side.op.inputs[0].op for side in list(op.inputs)[1:] if side.op.inputs]
    return _store([bound for bound in bounds if bound.type == "SelectV2"])


def _store(selects: list[tf.Operation]) -> list[tf.Operation]:
    """Assign what each SelectV2(searching, found, stored) found, and count the batch."""
    if not selects:
        return []
    searching = carried_from(selects[0].inputs[0])
    counter = searching.op.inputs[0]
    found = [select.inputs[1] for select in selects]
    if current_replica() is not None:
        # Replicas see different batches; what they store must be the same.
        found = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, found)

    def keep() -> tf.Operation:
        assigned = [
            tf.raw_ops.AssignVariableOp(resource=_variable_behind(select.inputs[2]), value=value)
            for select, value in zip(selects, found, strict=True)
        ]
        assigned.append(
            tf.raw_ops.AssignVariableOp(resource=_variable_behind(counter), value=counter + 1)
        )
        return tf.group(*assigned)

    return [tf.compat.v1.cond(searching, keep, tf.no_op)]


def _variable_behind(value: tf.Tensor) -> tf.Tensor:
    """The resource that `value` was read from."""
    while value.dtype != tf.resource:
        value = value.op.inputs[0]
    return value


def _first_input(_: tf.Operation, upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
    """A bound on a trained number doesn't stop its gradient, so that it can come back."""
    return upstream, None


def _stored_value(_: tf.Operation, upstream: tf.Tensor) -> tuple[None, None, tf.Tensor]:
    """SelectV2(searching, found, stored): the gradient always belongs to what is stored."""
    return None, None, upstream


def _started_value(
    op: tf.Operation, upstream: tf.Tensor, _: tf.Tensor | None
) -> tuple[tf.Tensor, None]:
    """IdentityN(value, rate): the gradient times rate, once a start value that is new is kept."""
    with tf.control_dependencies(_store([op.inputs[0].op])):
        return upstream * op.inputs[1], None


def _register() -> None:
    registered = {
        ULQ: ulq_gradient,
        FIRST: _first_input,
        STORED: _stored_value,
        STARTED: _started_value,
    }
    for name, gradient in registered.items():
        with contextlib.suppress(KeyError):  # registered before, by an import that was reloaded
            tf.RegisterGradient(name)(gradient)


_register()
