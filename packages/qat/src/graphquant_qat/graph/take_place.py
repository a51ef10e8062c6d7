"""Lets an op that may be fetched by its name return its value rounded."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from graphquant_core.graph import Rewrite
from graphquant_core.handler import text_attribute

_NEUTRAL: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "Add": tf.zeros_like,
    "AddV2": tf.zeros_like,
    "BiasAdd": tf.zeros_like,
    "Mul": tf.ones_like,
    "Sub": tf.zeros_like,
}
"""What the second input becomes, so that the op returns the first as it is."""


def take_place(rewrite: Rewrite, value: tf.Tensor, rounded: tf.Tensor) -> bool:
    """Lets the op of `value` return `rounded`; what is rounded then comes from a copy of the op.

    An output of the model is fetched by its name, past every consumer that could take something
    else. Only an op that adds to or multiplies its first input can be made to pass that on.

    Args:
        rewrite: The open transaction.
        value: What an op returns.
        rounded: The same behind its fake quantiser.

    Returns:
        Whether it could be done.
    """
    op = value.op
    neutral = _NEUTRAL.get(op.type)
    shapes = op.inputs[0].shape, value.shape
    if neutral is None or any(s.rank is None for s in shapes) or shapes[0].rank != shapes[1].rank:
        return False
    if any(a != b for a, b in zip(*(s.as_list() for s in shapes), strict=True)):
        return False
    between = upstream(rounded, value)
    with rewrite.beside(op), tf.compat.v1.name_scope(f"{op.name}_unrounded/"):
        copy = _copied(op)
        second = neutral(op.inputs[1])
    for taker in between:
        for port, tensor in enumerate(taker.inputs):
            if tensor is value:
                rewrite.redirect(taker, port, copy)
    rewrite.redirect(op, 0, rounded)
    rewrite.redirect(op, 1, second)
    return True


def _copied(op: tf.Operation) -> tf.Tensor:
    first, second = op.inputs
    if op.type == "BiasAdd":
        return tf.nn.bias_add(first, second, data_format=text_attribute(op, "data_format"))
    function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = {
        "Add": tf.add,
        "AddV2": tf.add,
        "Mul": tf.multiply,
        "Sub": tf.subtract,
    }[op.type]
    return function(first, second)


def upstream(rounded: tf.Tensor, value: tf.Tensor) -> list[tf.Operation]:
    """The ops between `value` and `rounded`."""
    found: dict[tf.Operation, None] = {}
    waiting = [rounded.op]
    while waiting:
        op = waiting.pop()
        if op is not value.op and op not in found:
            found[op] = None
            waiting.extend(tensor.op for tensor in op.inputs)
    return list(found)


def hangs_on(tensor: tf.Tensor, op: tf.Operation) -> bool:
    """Whether `tensor` is computed from what `op` returns."""
    found: set[tf.Operation] = set()
    waiting = [tensor.op]
    while waiting:
        found.add(waiting[-1])
        waiting.extend(t.op for t in waiting.pop().inputs if t.op not in found)
    return op in found
