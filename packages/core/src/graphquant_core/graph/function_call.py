"""Calls of TensorFlow functions, so that what each layer needs costs the graph one op.

The functions hold stock ops only; TensorFlow inlines them before a graph runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def call(
    function: tf.types.experimental.ConcreteFunction,
    arguments: Sequence[tf.Tensor],
    gradient: str | None = None,
    name: str | None = None,
) -> list[tf.Tensor]:
    """Results of `function`, called by one op of the default graph.

    Args:
        function: What to call.
        arguments: Its arguments.
        gradient: Name of a registered gradient; without it the op has none.
        name: Name of the op.
    """
    graph = tf.compat.v1.get_default_graph()
    function.add_to_graph(graph)
    types = [output.dtype for output in function.outputs]
    with graph.gradient_override_map({"PartitionedCall": gradient} if gradient else {}):
        results: list[tf.Tensor] = tf.raw_ops.PartitionedCall(
            args=list(arguments), Tout=types, f=function, name=name
        )
    for result, output in zip(results, function.outputs, strict=True):
        result.set_shape(output.shape)
    return results


def concrete(*signature: tf.TensorSpec) -> Callable[[Callable[..., object]], object]:
    """A decorator that makes a function of tensors like `signature` a TensorFlow function."""

    def trace(function: Callable[..., object]) -> object:
        # In a graph of its own: a function that is traced in a user's graph refers to it.
        with tf.Graph().as_default():
            traced = tf.function(function, input_signature=list(signature), autograph=False)
            return traced.get_concrete_function()

    return trace
