"""AMCT's gradient of a fake quantiser whose range is trained, in few ops of an activation's size.

The kernel's own gradient gives dx, sum g above and sum g below. What is left is one difference and
one sum over the activation; the numbers that follow from them are one call.
"""

from __future__ import annotations

import functools
import math

import tensorflow as tf

from graphquant_core.graph.control_flow import without_dependencies
from graphquant_qat.graph.computed_again import computed_again
from graphquant_qat.graph.start_values import (
    Compute,
    StartValues,
    computed_once_kept,
    variable_behind,
)


def clip_gradient(op: tf.Operation, upstream: tf.Tensor, ceiling: float) -> list[tf.Tensor | None]:
    """(dx, d low [], d high []) of the FakeQuantWithMinMaxVars `op`: AMCT's ULQ.

    Those of the ends are what the variables behind them get: the bounds that the range has in
    between let everything through, so that a range can come back from them. They are there once
    what was searched in the forward pass is kept. d low is ``None`` where the minimum is fixed.

    Args:
        op: The fake quantiser, of (x, low, high).
        upstream: Gradient of its result.
        ceiling: Where an activation function that was left out ends.
    """
    x, low, high = op.inputs
    bits, narrow = op.get_attr("num_bits"), op.get_attr("narrow_range")
    dx, below, above = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(
        gradients=upstream, inputs=x, min=low, max=high, num_bits=bits, narrow_range=narrow
    )
    y = computed_again(op)
    with without_dependencies(dx.op):
        # After the last op that takes x, so that the difference is written over y: memory that is
        # touched for the first time costs more than the arithmetic.
        with tf.control_dependencies([dx]):
            off = y - x
        axes = tf.range(tf.rank(x)) if x.shape.rank is None else tf.constant([*range(x.shape.rank)])
    inside = tf.reduce_sum(dx * off, axes)
    stored_low, stored_high, start = _behind(op)
    from_zero = variable_behind(stored_low) is None
    compute = _of_ends(2**bits - 1 - int(narrow), from_zero, ceiling)
    numbers = [inside, below, above, low, high, stored_high]
    ends = computed_once_kept(compute, numbers, start, "clip_gradient")
    for end in ends:
        end.set_shape([])
    return [dx, *([None] if from_zero else []), *ends]


def _behind(op: tf.Operation) -> tuple[tf.Tensor, tf.Tensor, StartValues | None]:
    """The stored ends behind the range that `op` takes, and what is searched for them."""
    found = op.inputs[2].op
    if len(found.outputs) == 2:
        low, high = found.inputs
        return low, high, None
    _, low, high, seen = found.inputs
    *ends, searching = found.outputs
    pairs = [
        pair for pair in zip((low, high), ends, strict=True) if variable_behind(pair[0]) is not None
    ]
    return low, high, StartValues(pairs, searching, seen)


@functools.cache
def _of_ends(levels: int, from_zero: bool, ceiling: float) -> Compute:
    """(sum g (y - x) inside [], below [], above [], low [], high [], stored high []) -> gradients.

    v = clip(x) / scale; `below` and `above` are sum g there: d high = above + e, d low = below - e,
    and e = sum g (round(v) - v) / levels over all values. Outside, each adds the same number to it:
    what rounding the zero point adds, over the levels; none where the range starts at zero. There
    d low isn't returned. At `ceiling` the clip cuts nothing off above, and what is stored isn't
    pushed further beyond it.
    """

    def compute(
        inside: tf.Tensor,
        below: tf.Tensor,
        above: tf.Tensor,
        low: tf.Tensor,
        high: tf.Tensor,
        stored: tf.Tensor,
    ) -> list[tf.Tensor]:
        error = inside / (high - low)
        if not from_zero:
            zero = low * levels / (high - low)
            error += (tf.round(zero) - zero) / levels * (below + above)
        if ceiling < math.inf:
            above = tf.where(high < ceiling, above, 0.0)
        upper = above + error
        if ceiling < math.inf:
            upper = tf.where(stored > ceiling, tf.maximum(upper, 0.0), upper)
        return [upper] if from_zero else [below - error, upper]

    return compute
