"""Calls of TensorFlow functions, so that what each layer needs costs the graph one op.

The functions hold stock ops only; TensorFlow inlines them before a graph runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from graphquant_core.graph.rewire import CALL, mark


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
    mark(results[0].op, CALL)
    for result, output in zip(results, function.outputs, strict=True):
        result.set_shape(output.shape)
    return results


def choose(
    condition: tf.Tensor,
    then: tf.types.experimental.ConcreteFunction,
    otherwise: tf.types.experimental.ConcreteFunction,
    arguments: Sequence[tf.Tensor],
    *,
    stateful: bool = False,
) -> list[tf.Tensor] | tf.Operation:
    """Results of `then` where `condition` holds, else of `otherwise`; the op where there are none.

    Unlike a tf.cond it stays one op when the graph is optimised, so that what rarely runs costs a
    session neither time to start nor ops in each step.

    Args:
        condition: bool [].
        then: Function of `arguments`.
        otherwise: Function of `arguments`, with results of the same types.
        arguments: What either function takes.
        stateful: Whether one of them changes a variable.
    """
    graph = tf.compat.v1.get_default_graph()
    for function in (then, otherwise):
        function.add_to_graph(graph)
    build = tf.raw_ops.If if stateful else tf.raw_ops.StatelessIf
    results = build(
        cond=condition,
        input=list(arguments),
        Tout=[output.dtype for output in then.outputs],
        then_branch=then,
        else_branch=otherwise,
    )
    if isinstance(results, tf.Operation):
        return results
    for result, output in zip(results, then.outputs, strict=True):
        result.set_shape(output.shape)
    return list(results)


def concrete(
    *signature: tf.TensorSpec, inlined: bool = True
) -> Callable[[Callable[..., object]], object]:
    """A decorator that makes a function of tensors like `signature` a TensorFlow function.

    One that isn't `inlined` stays a call when the graph is optimised, and all its callers share it:
    what the branch of a `choose` holds, TensorFlow copies, optimises and keeps for each.
    """

    def trace(function: Callable[..., object]) -> object:
        # In a graph of its own: a function that is traced in a user's graph refers to it.
        with tf.Graph().as_default():
            traced = tf.function(
                function,
                input_signature=list(signature),
                autograph=False,
                experimental_attributes=None if inlined else {"_noinline": True},
            )
            return traced.get_concrete_function()

    return trace
