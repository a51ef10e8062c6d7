"""Start values of a trained range, searched in the graph on the first batches."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from graphquant_core.calibration.ifmr import PERCENTILE, SEARCH
from graphquant_core.quantize import FLOAT32_EPSILON


def ifmr_range(values: tf.Tensor, levels: int, fixed_min: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """(clip_min, clip_max) of `graphquant_core.calibration.ifmr.ifmr_range`, as float32 [] tensors.

    Args:
        values: float32, any shape, not empty.
        levels: Steps of the grid, 255 for int8.
        fixed_min: Whether the minimum is 0 whatever `values` holds.
    """
    flat = tf.reshape(values, [-1])
    size = tf.size(flat)
    beyond = size - tf.cast(tf.floor(PERCENTILE * tf.cast(size, tf.float64)), tf.int32)
    rank = tf.clip_by_value(beyond, 1, tf.maximum(size, 1))
    high = tf.maximum(tf.math.top_k(flat, rank).values[-1], 0.0)
    low = tf.constant(0.0)
    if not fixed_min:
        low = tf.minimum(-tf.math.top_k(-flat, rank).values[-1], 0.0)
    scale = _best_scale(flat, low, high, levels)
    dead = scale < FLOAT32_EPSILON
    scale = tf.where(dead, 1.0, scale)
    zero = tf.where(dead, 0.0, tf.round(low / scale))
    return zero * scale, (zero + levels) * scale


def _best_scale(flat: tf.Tensor, low: tf.Tensor, high: tf.Tensor, levels: int) -> tf.Tensor:
    """The scale of least mean squared error among the candidates for the maximum, []."""
    candidates = tf.constant(np.arange(*SEARCH).astype(np.float32)) * high
    scales = (candidates - low) / levels
    count = int(scales.shape[0])

    def search(
        index: tf.Tensor, best: tf.Tensor, least: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        step = tf.maximum(scales[index], FLOAT32_EPSILON)
        on_grid = tf.round(tf.clip_by_value(flat, low, candidates[index]) / step) * step
        # reduce_mean would be exact enough in float32 only for small batches
        error = tf.reduce_sum(tf.cast(tf.square(on_grid - flat), tf.float64))
        better = error < least
        return index + 1, tf.where(better, scales[index], best), tf.minimum(error, least)

    start = (tf.constant(0), scales[0], tf.constant(np.inf, tf.float64))
    found = tf.while_loop(lambda index, *_: index < count, search, start, parallel_iterations=1)
    return found[1]
