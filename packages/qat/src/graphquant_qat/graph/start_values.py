"""What the forward pass finds on the first batches, assigned to variables by the backward pass.

Only training may change variables: so a graph that is frozen for inference holds no assignment.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph.function_call import call, choose, concrete
from graphquant_core.graph.replica import current_replica

ANY = tf.TensorSpec(None, tf.float32)

Compute = Callable[..., Sequence[tf.Tensor]]


@attrs.frozen(eq=False)
class StartValues:
    """Values that variables get.

    Attributes:
        pairs: Read of each variable, and the value.
        searching: Whether they get them, bool [].
        seen: Read of the variable that counts the batches, int32 []: one more after that.
    """

    pairs: Sequence[tuple[tf.Tensor, tf.Tensor]]
    searching: tf.Tensor
    seen: tf.Tensor


def computed_once_kept(
    compute: Compute, inputs: Sequence[tf.Tensor], start: StartValues | None, name: str
) -> list[tf.Tensor]:
    """What `compute` makes of `inputs`, once the variables have their start values.

    Gradients that are computed so make an optimizer's update come after that.

    Args:
        compute: The same object wherever it computes the same: it becomes a TensorFlow function.
        inputs: float32.
        start: The start values, if there are any to keep.
        name: Name of the op.
    """
    if start is None:
        return call(_function(compute, len(inputs)), inputs, name=name)
    values, searching = [value for _, value in start.pairs], start.searching
    if current_replica() is not None:
        values, searching = _mean_of_replicas(values, searching)
    found = [variable_behind(read) for read in (*(r for r, _ in start.pairs), start.seen)]
    variables = [variable for variable in found if variable is not None]
    kept = [*variables, *values, start.seen]
    if any(_names_a_task(variable.op.device) for variable in variables):
        # The body of a call runs in the task that calls it; an op of the graph goes where its
        # variables are, such as to a parameter server.
        done = choose(searching, *_assigning(len(values)), kept, stateful=True)
        with tf.control_dependencies([done]):
            return call(_function(compute, len(inputs)), inputs, name=name)
    function = _keeping_function(compute, len(inputs), len(values))
    return call(function, [*inputs, *kept, searching], name=name, stateful=True)


def variable_behind(value: tf.Tensor) -> tf.Tensor | None:
    """The resource that `value` was read from; ``None`` for a constant."""
    while value.dtype != tf.resource:
        if not value.op.inputs:
            return None
        value = value.op.inputs[0]
    return value


@functools.cache
def _function(compute: Compute, count: int) -> tf.types.experimental.ConcreteFunction:
    return concrete(*[ANY] * count, inlined=False)(compute)


@functools.cache
def _keeping_function(
    compute: Compute, count: int, kept: int
) -> tf.types.experimental.ConcreteFunction:
    """Of `count` inputs, and what `_assigning` and its condition take."""
    signature = [*[ANY] * count, *_kept(kept), tf.TensorSpec([], tf.bool)]

    @concrete(*signature, inlined=False)
    def function(*arguments: tf.Tensor) -> list[tf.Tensor]:
        *others, searching = arguments
        done = choose(searching, *_assigning(kept), others[count:], stateful=True)
        with tf.control_dependencies([done]):
            return [tf.identity(result) for result in compute(*others[:count])]

    return function


@functools.cache
def _assigning(
    count: int,
) -> tuple[tf.types.experimental.ConcreteFunction, tf.types.experimental.ConcreteFunction]:
    """(assign, do nothing), of what `_kept` says.

    The first assigns the values and counts one batch more than `seen`.
    """

    @concrete(*_kept(count))
    def assign(*arguments: tf.Tensor) -> None:
        *variables, counter = arguments[: count + 1]
        *values, seen = arguments[count + 1 :]
        for variable, value in zip(variables, values, strict=True):
            tf.raw_ops.AssignVariableOp(resource=variable, value=value)
        tf.raw_ops.AssignVariableOp(resource=counter, value=seen + 1)

    @concrete(*_kept(count))
    def nothing(*unused: tf.Tensor) -> None:  # noqa: ARG001 the branch of a cond
        return

    return assign, nothing


def _kept(count: int) -> list[tf.TensorSpec]:
    """Variables [count], the counter, values [count], seen int32 []."""
    return [
        *(tf.TensorSpec([], tf.resource, f"variable{number}") for number in range(count)),
        tf.TensorSpec([], tf.resource, "counter"),
        *(tf.TensorSpec(None, tf.float32, f"value{number}") for number in range(count)),
        tf.TensorSpec([], tf.int32, "seen"),
    ]


def _names_a_task(device: str) -> bool:
    return tf.DeviceSpec.from_string(device).job is not None


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
