"""ULQ in the graph: fake quantisation of an activation whose range is trained."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.quantize import FLOAT32_EPSILON
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_qat.graph import gradients
from graphquant_qat.graph.ifmr import start_range

v1 = tf.compat.v1


def build_ulq(values: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """`values` by FakeQuantWithMinMaxVars over [min(clip_min, 0), max(clip_max, 0+)].

    Variables: ``<key>/ULQ_clip_max``, ``<key>/ULQ_clip_min`` (trained; no minimum when it is
    fixed at 0) and ``<key>/ULQ_batches`` (how many batches the start values come from). Options:

    - ``batch_num``: batches that the start values are searched on; 1 by default.
    - ``clip_max``, ``clip_min``: start values instead of a search; both or neither.
    - ``fixed_min``: whether the minimum stays 0.

    Raises:
        ConfigError: The grid is narrow; only one range per tensor is trained.
    """
    grid, options = request.grid, request.options
    if grid.narrow or request.axes:
        raise ConfigError(f"ulq_quantize trains one full-grid range per tensor, not {request!r}")
    fixed_min = bool(options.get("fixed_min"))
    clip_max, clip_min = options.get("clip_max"), options.get("clip_min")
    searched = clip_max is None or clip_min is None
    stored_high = _variable(request.key, "ULQ_clip_max", 1.0 if clip_max is None else clip_max)
    stored_low = None
    if not fixed_min:
        stored_low = _variable(request.key, "ULQ_clip_min", -1.0 if clip_min is None else clip_min)
    low, high, calibrated = stored_low, stored_high, None
    if searched:
        batches = int(options.get("batch_num", 1))
        low, high, calibrated = _search(
            values, stored_low, stored_high, request.key, grid.levels, batches
        )
    low, high = _with_zero(low, high, grid.levels)
    with values.graph.gradient_override_map({"FakeQuantWithMinMaxVars": gradients.ULQ}):
        output = tf.quantization.fake_quant_with_min_max_vars(
            values, low, high, num_bits=grid.bits, name="FakeQuantWithMinMaxVars"
        )
    # The factors come from the variables alone: reading them needs no data and no cond.
    with tf.control_dependencies(None):
        low, high = _with_zero(stored_low, stored_high, grid.levels)
        scale = tf.divide(high - low, grid.levels, name="scale")
        # As the kernel nudges: the zero point is rounded half up, counted from the minimum.
        offset = tf.cast(tf.floor(-low / scale + 0.5), tf.int32) + grid.minimum
    return FakeQuantized(output, scale, offset, grid, calibrated)


def _with_zero(low: tf.Tensor | None, high: tf.Tensor, levels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The range, with zero in it and never closed, whatever training does to the clips."""
    bounded = {"Maximum": gradients.FIRST, "Minimum": gradients.FIRST}
    with high.graph.gradient_override_map(bounded):
        high = tf.maximum(high, levels * FLOAT32_EPSILON, name="clip_max")
        if low is None:
            return tf.zeros_like(high, name="clip_min"), high
        return tf.minimum(low, 0.0, name="clip_min"), high


def _search(
    values: tf.Tensor,
    stored_low: tf.Tensor | None,
    stored_high: tf.Tensor,
    key: str,
    levels: int,
    batches: int,
) -> tuple[tf.Tensor | None, tf.Tensor, tf.Tensor]:
    seen = _variable(key, "ULQ_batches", 0, trainable=False)
    with tf.control_dependencies(None):
        searching = tf.less(seen, batches, name="searching")
        calibrated = tf.logical_not(searching)
    zero = tf.constant(0.0) if stored_low is None else stored_low
    found_low, found_high = start_range(levels, batches, stored_low is None)(
        values, zero, stored_high, seen
    )
    with values.graph.gradient_override_map({"SelectV2": gradients.STORED}):
        high = tf.raw_ops.SelectV2(condition=searching, t=found_high, e=stored_high)
        low = None
        if stored_low is not None:
            low = tf.raw_ops.SelectV2(condition=searching, t=found_low, e=stored_low)
    return low, high, calibrated


def _variable(key: str, name: str, initial: float, trainable: bool = True) -> tf.Tensor:
    """The value of a scalar variable, which a second quantiser of the same key shares."""
    variable = v1.get_variable(
        f"{key}/{name}",
        shape=[],
        dtype=tf.int32 if isinstance(initial, int) else tf.float32,
        initializer=v1.constant_initializer(initial),
        trainable=trainable,
        use_resource=True,
    )
    with tf.control_dependencies(None):
        return variable.read_value()
