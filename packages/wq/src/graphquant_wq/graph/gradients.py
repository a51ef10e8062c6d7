"""The gradients of a weight that was put on a grid, registered once under names of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from graphquant_core.graph.function_call import call, concrete

BY_FUNCTION = "GraphquantByFunction"
"""By the backward function that `differentiable` was given."""

Function: TypeAlias = tf.types.experimental.ConcreteFunction

_gradients: dict[str, Function] = {}


def differentiable(
    forward: Callable[..., list[tf.Tensor]],
    backward: Callable[..., list[tf.Tensor]],
    *signature: tf.TensorSpec,
) -> Function:
    """`forward` as a function whose calls with `BY_FUNCTION` have the gradient of `backward`.

    `backward` takes the arguments of `forward`, its results, and the gradient of the first
    result, which has the shape of the first argument; it returns the gradients of the first
    arguments. The others have none.
    """
    function: Function = concrete(*signature)(forward)
    results = [tf.TensorSpec(result.shape, result.dtype) for result in function.outputs]
    gradient = concrete(*signature, *results, signature[0])(backward)
    _gradients[function.function_def.signature.name] = gradient
    return function


def _by_function(op: tf.Operation, upstream: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor | None]:
    gradient = _gradients[op.get_attr("f").name]
    found = call(gradient, [*op.inputs, *op.outputs, upstream])
    return [*found, *[None] * (len(op.inputs) - len(found))]


with contextlib.suppress(KeyError):  # registered before, by an import that was reloaded
    tf.RegisterGradient(BY_FUNCTION)(_by_function)
