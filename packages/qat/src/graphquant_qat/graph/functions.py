"""TensorFlow functions that every layer calls, so that a layer costs the graph one op for each.

They hold stock ops only; TensorFlow inlines them before a graph runs, all but what only the first
batches need.
"""

from __future__ import annotations

import functools
import math

import tensorflow as tf

from graphquant_core.graph.function_call import call, choose, concrete
from graphquant_core.quantize import FLOAT32_EPSILON
from graphquant_qat.graph.ifmr import ifmr_range

SCALAR = tf.TensorSpec([], tf.float32)
COUNT = tf.TensorSpec([], tf.int32)
ANY = tf.TensorSpec(None, tf.float32)


def _bounded(
    low: tf.Tensor, high: tf.Tensor, levels: int, ceiling: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """The range, with zero in it and never closed, whatever training does to its ends."""
    if ceiling < math.inf:
        high = tf.minimum(high, ceiling)
    return tf.minimum(low, 0.0), tf.maximum(high, levels * FLOAT32_EPSILON)


@functools.cache
def searched_range(
    levels: int,
    batches: int,
    fixed_min: bool,
    ceiling: float = math.inf,
    bypassed: str | None = None,
) -> tf.types.experimental.ConcreteFunction:
    """(values any shape, low [], high [], seen int32 []) -> (low, high, searching bool []).

    Once `seen` has reached `batches`, the stored range, bounded so that it holds zero. Before,
    the mean over the IFMR searches so far, of which the stored range holds the first `seen`. An
    empty batch has no range: the stored one stays, and the search waits. No range ends above
    `ceiling`. The search is of what the activation function `bypassed` makes of the values.
    """

    @concrete(ANY, inlined=False)
    def search(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if bypassed is not None:
            values = {"Relu": tf.nn.relu, "Relu6": tf.nn.relu6}[bypassed](values)
        return ifmr_range(values, levels, fixed_min)

    @concrete(ANY, SCALAR, SCALAR, COUNT)
    def averaged(
        values: tf.Tensor, low: tf.Tensor, high: tf.Tensor, seen: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        found_low, found_high = call(search, [values])
        share = 1.0 / (tf.cast(seen, tf.float32) + 1.0)
        return low + (found_low - low) * share, high + (found_high - high) * share

    @concrete(ANY, SCALAR, SCALAR, COUNT)
    def held(
        values: tf.Tensor, low: tf.Tensor, high: tf.Tensor, seen: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del values, seen
        return tf.identity(low), tf.identity(high)

    @concrete(ANY, SCALAR, SCALAR, COUNT)
    def function(
        values: tf.Tensor, low: tf.Tensor, high: tf.Tensor, seen: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        searching = (seen < batches) & (tf.size(values) > 0)
        low, high = choose(searching, averaged, held, [values, low, high, seen])
        low, high = _bounded(low, high, levels, ceiling)
        return low, high, searching

    return function


@functools.cache
def bounded_range(levels: int, ceiling: float = math.inf) -> tf.types.experimental.ConcreteFunction:
    """(low [], high []) -> (low, high), bounded so that they hold zero, and by `ceiling`."""

    @concrete(SCALAR, SCALAR)
    def function(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _bounded(low, high, levels, ceiling)

    return function


@functools.cache
def range_factors(
    levels: int, minimum: int, batches: int, ceiling: float = math.inf
) -> tf.types.experimental.ConcreteFunction:
    """(low [], high [], seen int32 []) -> (scale [], offset int32 [], calibrated bool []).

    As FakeQuantWithMinMaxVars nudges: the zero point is rounded half up, counted from `minimum`.
    """

    @concrete(SCALAR, SCALAR, COUNT)
    def function(
        low: tf.Tensor, high: tf.Tensor, seen: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        low, high = _bounded(low, high, levels, ceiling)
        scale = (high - low) / levels
        offset = tf.cast(tf.floor(-low / scale + 0.5), tf.int32) + minimum
        return scale, offset, seen >= batches

    return function


@functools.cache
def largest_scale(
    rank: int, axes: tuple[int, ...], maximum: int
) -> tf.types.experimental.ConcreteFunction:
    """(weight) -> (scale broadcasting against it, scale [C] or [], offset int32 of that shape).

    scale = max|w| / maximum of each channel, 1.0 for a dead one; offset 0.
    """

    @concrete(tf.TensorSpec([None] * rank, tf.float32))
    def function(weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        reduced = [axis for axis in range(rank) if axis not in axes]
        scale = tf.reduce_max(tf.abs(weight), reduced, keepdims=True) / maximum
        scale = tf.where(scale < FLOAT32_EPSILON, tf.ones_like(scale), scale)
        flat = tf.reshape(scale, [-1] if axes else [])
        return scale, flat, tf.zeros_like(flat, tf.int32)

    return function


@functools.cache
def learned_scale() -> tf.types.experimental.ConcreteFunction:
    """(start, stored, seen int32 [], rate []) -> (scale, searching bool []); scales of one shape.

    The start value until one batch was seen, then what is stored, kept above zero. `rate` scales
    the gradient.
    """

    @concrete(ANY, ANY, COUNT, SCALAR)
    def function(
        start: tf.Tensor, stored: tf.Tensor, seen: tf.Tensor, rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del rate
        searching = seen < 1
        scale = tf.where(searching, start, stored)
        return tf.maximum(scale, FLOAT32_EPSILON), searching

    return function


@functools.cache
def keeping(
    count: int,
) -> tuple[tf.types.experimental.ConcreteFunction, tf.types.experimental.ConcreteFunction]:
    """(assign, do nothing), of (variables [count], values [count], counter, seen int32 []).

    The first assigns the values and counts one batch more than `seen`.
    """
    signature = [
        *(tf.TensorSpec([], tf.resource, f"variable{number}") for number in range(count)),
        *(tf.TensorSpec(None, tf.float32, f"value{number}") for number in range(count)),
        tf.TensorSpec([], tf.resource, "counter"),
        tf.TensorSpec([], tf.int32, "seen"),
    ]

    @concrete(*signature)
    def assign(*arguments: tf.Tensor) -> None:
        for variable, value in zip(arguments[:count], arguments[count:-2], strict=True):
            tf.raw_ops.AssignVariableOp(resource=variable, value=value)
        counter, seen = arguments[-2:]
        tf.raw_ops.AssignVariableOp(resource=counter, value=seen + 1)

    @concrete(*signature)
    def nothing(*unused: tf.Tensor) -> None:  # noqa: ARG001 the branch of a cond
        return

    return assign, nothing


@functools.cache
def clip_gradient(
    bits: int, narrow: bool, ceiling: float
) -> tf.types.experimental.ConcreteFunction:
    """(upstream, x, y, low [], high []) -> (dx, d low [], d high []): AMCT's ULQ.

    y is x fake-quantised. d high = sum g (e + above), d low = sum g (below - e), with
    e = (round(v) - v) / levels and v = clip(x) / scale. The kernel's own gradient gives dx, sum g
    above and sum g below. Outside, e is the same number for both sides: what rounding the zero
    point adds, over the levels. Above a clip at `ceiling`, where an activation function that was
    left out ends, nothing is cut off by the clip.
    """
    levels = float(2**bits - 1 - int(narrow))

    @concrete(ANY, ANY, ANY, SCALAR, SCALAR)
    def function(
        upstream: tf.Tensor, x: tf.Tensor, y: tf.Tensor, low: tf.Tensor, high: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        dx, below, above = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(
            gradients=upstream, inputs=x, min=low, max=high, num_bits=bits, narrow_range=narrow
        )
        # After the last op that takes x, so that the difference is written over it: memory that is
        # touched for the first time costs more than the arithmetic.
        with tf.control_dependencies([dx]):
            off = y - x
        zero = low * levels / (high - low)
        outside = (tf.round(zero) - zero) / levels * (below + above)
        error = tf.reduce_sum(dx * off) / (high - low) + outside
        if ceiling < math.inf:
            above = tf.where(high < ceiling, above, 0.0)
        return dx, below - error, above + error

    return function
