"""The gradients of a weight that was put on a grid, registered once under names of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from graphquant_core.graph.function_call import call

PASS_THROUGH = "GraphquantPassThrough"
"""To the first argument of a call as it is, to the others none. It costs no op at all."""

BY_FUNCTION = "GraphquantByFunction"
"""By the function that `set_gradient` named for the one that was called."""

Function: TypeAlias = tf.types.experimental.ConcreteFunction

_gradients: dict[str, Function] = {}


def set_gradient(function: Function, gradient: Function) -> None:
    """Lets a call of `function` with `BY_FUNCTION` have the gradient that `gradient` computes.

    `gradient` takes the arguments of `function` and the gradient of its first result; it returns
    those of the first arguments. The others have none.
    """
    _gradients[function.function_def.signature.name] = gradient


def _pass_through(op: tf.Operation, upstream: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor | None]:
    return [upstream, *[None] * (len(op.inputs) - 1)]


def _by_function(op: tf.Operation, upstream: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor | None]:
    found = call(_gradients[op.get_attr("f").name], [*op.inputs, upstream])
    return [*found, *[None] * (len(op.inputs) - len(found))]


def _register(name: str, gradient: Callable[..., list[tf.Tensor | None]]) -> None:
    with contextlib.suppress(KeyError):  # registered before, by an import that was reloaded
        tf.RegisterGradient(name)(gradient)


_register(PASS_THROUGH, _pass_through)
_register(BY_FUNCTION, _by_function)
