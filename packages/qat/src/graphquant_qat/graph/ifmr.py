"""Start values of a trained range, searched in the graph on the first batches."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from graphquant_core.calibration.ifmr import PERCENTILE, SEARCH
from graphquant_core.quantize import FLOAT32_EPSILON

BINS = 4096
FINALISTS = 3
"""Candidates whose errors are computed on the values themselves, not on their histogram."""


def ifmr_range(values: tf.Tensor, levels: int, fixed_min: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """(clip_min, clip_max) of `graphquant_core.calibration.ifmr.ifmr_range`, as float32 [] tensors.

    The candidates' errors come from one histogram, and decide which few are compared exactly.

    Args:
        values: float32, any shape, not empty.
        levels: Steps of the grid, 255 for int8.
        fixed_min: Whether the minimum is 0 whatever `values` holds.
    """
    flat = tf.reshape(values, [-1])
    top = _largest(flat)
    high = tf.maximum(top[-1], 0.0)
    bottom = tf.zeros([0]) if fixed_min else -_largest(-flat)
    low = tf.constant(0.0) if fixed_min else tf.minimum(bottom[-1], 0.0)
    ends = tf.constant(np.arange(*SEARCH).astype(np.float32)) * high
    scales = (ends - low) / levels
    points, counts = _histogram(flat, low, high, bottom, top)
    errors = _errors(points, counts, low, scales, levels)
    # In the order of the search: the first among equals wins.
    finalists = tf.sort(tf.math.top_k(-errors, FINALISTS).indices)
    bits = levels.bit_length()
    exact = []
    for end in tf.unstack(tf.gather(ends, finalists), FINALISTS):
        off = tf.quantization.fake_quant_with_min_max_vars(flat, low, end, bits) - flat
        # In float32 an outlier's square would swallow what all the other values add.
        exact.append(tf.reduce_sum(tf.cast(tf.square(off), tf.float64)))
    scale = scales[finalists[tf.argmin(tf.stack(exact))]]
    dead = scale < FLOAT32_EPSILON
    scale = tf.where(dead, 1.0, scale)
    zero = tf.where(dead, 0.0, tf.round(low / scale))
    return zero * scale, (zero + levels) * scale


def _largest(flat: tf.Tensor) -> tf.Tensor:
    """The largest values down to the percentile of the search, [rank]."""
    size = tf.size(flat)
    beyond = size - tf.cast(tf.floor(PERCENTILE * tf.cast(size, tf.float64)), tf.int32)
    return tf.math.top_k(flat, tf.clip_by_value(beyond, 1, tf.maximum(size, 1))).values


def _histogram(
    flat: tf.Tensor, low: tf.Tensor, high: tf.Tensor, bottom: tf.Tensor, top: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """(points, counts): the mean of each bin from `low` to `high`, and each value beyond them.

    A mean is exact where a bin holds one value many times, as bins do of what was rounded before.
    """
    width = tf.maximum((high - low) / BINS, FLOAT32_EPSILON / BINS)
    place = tf.minimum((flat - low) / width, float(BINS))
    # Clipped as integers, so that NaN gets a bin as well.
    index = tf.clip_by_value(tf.cast(place, tf.int32), 0, BINS - 1)
    inside = tf.maximum(place - tf.cast(index, tf.float32), 0.0)
    counts = tf.math.bincount(index, minlength=BINS, maxlength=BINS, dtype=tf.float32)
    sums = tf.math.bincount(index, inside, minlength=BINS, maxlength=BINS)
    below = tf.cast(bottom < low, tf.float32)
    above = tf.cast(top > high, tf.float32)
    first, last = tf.one_hot(0, BINS), tf.one_hot(BINS - 1, BINS)
    beyond = tf.reduce_sum(above) * last
    counts -= tf.reduce_sum(below) * first + beyond
    sums -= beyond
    means = low + (tf.range(BINS, dtype=tf.float32) + sums / tf.maximum(counts, 1.0)) * width
    return tf.concat([means, bottom, top], 0), tf.concat([counts, below, above], 0)


def _errors(
    points: tf.Tensor, counts: tf.Tensor, low: tf.Tensor, scales: tf.Tensor, levels: int
) -> tf.Tensor:
    """Sum of counts * (round(clip(x) / scale) * scale - x)^2 for each scale, [scales]."""
    scales = tf.maximum(scales, FLOAT32_EPSILON)
    steps = points / scales[:, None]
    zero = tf.round(low / scales)[:, None]
    off = steps - tf.clip_by_value(tf.round(steps), zero, zero + levels)
    # No MatMul: a plan of the graph would name it as a layer that stays float.
    return tf.reduce_sum(tf.square(off) * counts, 1) * tf.square(scales)
