"""TensorFlow functions that every layer calls, so that a layer costs the graph one op for each.

They hold stock ops only. What a training step takes stays a call: inlined, it would be optimised
for each layer anew before the first step, which takes longer than some ten steps.
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

    @concrete(ANY)
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

    @concrete(ANY, SCALAR, SCALAR, COUNT, inlined=False)
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
def on_largest_scale(
    rank: int, axes: tuple[int, ...], maximum: int
) -> tf.types.experimental.ConcreteFunction:
    """(weight) -> (round(w / scale) * scale, scale [C] or [], offset int32 of that shape).

    scale = max|w| / maximum of each channel, 1.0 for a dead one; offset 0.
    """

    @concrete(tf.TensorSpec([None] * rank, tf.float32), inlined=False)
    def function(weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        scale = _largest_scale(weight, axes, maximum)
        flat = tf.reshape(scale, [-1] if axes else [])
        return tf.round(weight / scale) * scale, flat, tf.zeros_like(flat, tf.int32)

    return function


@functools.cache
def largest_scale(
    rank: int, axes: tuple[int, ...], maximum: int
) -> tf.types.experimental.ConcreteFunction:
    """(weight) -> (scale [C] or [], offset int32 of that shape) of `on_largest_scale`."""

    @concrete(tf.TensorSpec([None] * rank, tf.float32), inlined=False)
    def function(weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        flat = tf.reshape(_largest_scale(weight, axes, maximum), [-1] if axes else [])
        return flat, tf.zeros_like(flat, tf.int32)

    return function


def _largest_scale(weight: tf.Tensor, axes: tuple[int, ...], maximum: int) -> tf.Tensor:
    """Broadcasting against `weight`."""
    reduced = [axis for axis in range(weight.shape.rank) if axis not in axes]
    scale = tf.reduce_max(tf.abs(weight), reduced, keepdims=True) / maximum
    return tf.where(scale < FLOAT32_EPSILON, 1.0, scale)


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
