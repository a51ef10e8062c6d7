"""Gradients that TensorFlow doesn't have, registered once under names of ours.

A graph op carries the name of its gradient; freezing keeps it, and importing ignores it. Only
tf.gradients on an imported training graph needs this module to be imported first.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from graphquant_qat.graph.clip_gradient import clip_gradient
from graphquant_qat.graph.start_values import StartValues, computed_once_kept, variable_behind

ULQ = "GraphquantUlq"
ULQ_TO_6 = "GraphquantUlqTo6"
SEARCHED_RANGE = "GraphquantSearchedRange"
BOUNDED_RANGE = "GraphquantBoundedRange"
LEARNED_SCALE = "GraphquantLearnedScale"
NO_GRADIENT = "GraphquantNoGradient"
ROUNDED_BIAS = "GraphquantRoundedBias"
STRAIGHT_THROUGH = "Identity"
FIRST_ONLY = "GraphquantFirstOnly"

Gradient = Callable[..., Sequence[tf.Tensor | None]]


def _ulq(ceiling: float) -> Gradient:
    def gradient(op: tf.Operation, upstream: tf.Tensor) -> list[tf.Tensor | None]:
        return clip_gradient(op, upstream, ceiling)

    return gradient


def _searched_range(
    op: tf.Operation, low: tf.Tensor, high: tf.Tensor, _: tf.Tensor | None
) -> list[tf.Tensor | None]:
    """Of (values, low, high, seen): the fake quantiser's are those of what is stored."""
    return [None, _of_stored(op.inputs[1], low), high, None]


def _bounded_range(op: tf.Operation, low: tf.Tensor, high: tf.Tensor) -> list[tf.Tensor | None]:
    """Of (low, high), likewise."""
    return [_of_stored(op.inputs[0], low), high]


def _of_stored(read: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor | None:
    """`gradient`, or ``None`` of what isn't trained: zeros, which would cost each layer ops."""
    return None if variable_behind(read) is None else gradient


def _learned_scale(
    op: tf.Operation, upstream: tf.Tensor, _: tf.Tensor | None
) -> tuple[None, tf.Tensor, None, None]:
    """Of (start, stored, seen, rate): the gradient belongs to what is stored, times rate."""
    _, stored, seen, rate = op.inputs
    scale, searching = op.outputs
    start = StartValues([(stored, scale)], searching, seen)
    (kept,) = computed_once_kept(_times, [upstream, rate], start, "scale_gradient")
    kept.set_shape(upstream.shape)
    return None, kept, None, None


def _times(upstream: tf.Tensor, rate: tf.Tensor) -> list[tf.Tensor]:
    return [upstream * rate]


def _first_only(
    op: tf.Operation, upstream: tf.Tensor, *_: tf.Tensor | None
) -> list[tf.Tensor | None]:
    """Of what puts its first input on a grid: g, straight through."""
    return [upstream, *(None for _ in op.inputs[1:])]


def _no_gradient(op: tf.Operation, *_: tf.Tensor | None) -> list[None]:
    return [None for _ in op.inputs]


def _rounded_bias(op: tf.Operation, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    """Of (value, ...): straight through."""
    return [upstream, *[None for _ in op.inputs[1:]]]


def _register() -> None:
    registered: dict[str, Gradient] = {
        ULQ: _ulq(math.inf),
        ULQ_TO_6: _ulq(6.0),
        SEARCHED_RANGE: _searched_range,
        BOUNDED_RANGE: _bounded_range,
        LEARNED_SCALE: _learned_scale,
        NO_GRADIENT: _no_gradient,
        FIRST_ONLY: _first_only,
        ROUNDED_BIAS: _rounded_bias,
    }
    for name, gradient in registered.items():
        with contextlib.suppress(KeyError):  # registered before, by an import that was reloaded
            tf.RegisterGradient(name)(gradient)


_register()
