"""TensorFlow functions that every layer calls, so that a layer costs the graph one op for each.

They hold stock ops only; TensorFlow inlines them before a graph runs, all but what only the first
batches need.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from graphquant_core.graph.function_call import choose, concrete
from graphquant_core.quantize import FLOAT32_EPSILON
from graphquant_qat.graph.ifmr import ifmr_range

SCALAR = tf.TensorSpec([], tf.float32)
COUNT = tf.TensorSpec([], tf.int32)
ANY = tf.TensorSpec(None, tf.float32)


def _with_zero(low: tf.Tensor, high: tf.Tensor, levels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The range, with zero in it and never closed, whatever training does to its ends."""
    return tf.minimum(low, 0.0), tf.maximum(high, levels * FLOAT32_EPSILON)


@functools.cache
def searched_range(
    levels: int, batches: int, fixed_min: bool
) -> tf.types.experimental.ConcreteFunction:
    """(values any shape, low [], high [], seen int32 []) -> (low, high, searching bool []).

    Once `seen` has reached `batches`, the stored range, bounded so that it holds zero. Before,
    the mean over the IFMR searches so far, of which the stored range holds the first `seen`. An
    empty batch has no range: the stored one stays, and the search waits.
    """

    @concrete(ANY, SCALAR, SCALAR, COUNT)
    def averaged(
        values: tf.Tensor, low: tf.Tensor, high: tf.Tensor, seen: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        found_low, found_high = ifmr_range(values, levels, fixed_min)
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
        low, high = _with_zero(low, high, levels)
        return low, high, searching

    return function


@functools.cache
def bounded_range(levels: int) -> tf.types.experimental.ConcreteFunction:
    """(low [], high []) -> (low, high), bounded so that they hold zero."""

    @concrete(SCALAR, SCALAR)
    def function(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _with_zero(low, high, levels)

    return function


@functools.cache
def range_factors(
    levels: int, minimum: int, batches: int
) -> tf.types.experimental.ConcreteFunction:
    """(low [], high [], seen int32 []) -> (scale [], offset int32 [], calibrated bool []).

    As FakeQuantWithMinMaxVars nudges: the zero point is rounded half up, counted from `minimum`.
    """

    @concrete(SCALAR, SCALAR, COUNT)
    def function(
        low: tf.Tensor, high: tf.Tensor, seen: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        low, high = _with_zero(low, high, levels)
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
        *[tf.TensorSpec([], tf.resource)] * count,
        *[ANY] * count,
        tf.TensorSpec([], tf.resource),
        COUNT,
    ]

    @concrete(*signature)
    def assign(*arguments: tf.Tensor) -> None:
        for variable, value in zip(arguments[:count], arguments[count:-2], strict=True):
            tf.raw_ops.AssignVariableOp(resource=variable, value=value)
        counter, seen = arguments[-2:]
        tf.raw_ops.AssignVariableOp(resource=counter, value=seen + 1)

    @concrete(*signature)
    def nothing(*_: tf.Tensor) -> None:
        return

    return assign, nothing
