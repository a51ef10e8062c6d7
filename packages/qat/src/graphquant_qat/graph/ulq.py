"""ULQ in the graph: fake quantisation of an activation whose range is trained."""

from __future__ import annotations

import math

import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.function_call import call
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_qat.graph import functions, gradients
from graphquant_qat.graph.variables import stored

CLIP_MAX, CLIP_MIN = "ULQ_clip_max", "ULQ_clip_min"
"""Names of the trained variables, below the key of the layer."""

BATCHES = "ULQ_batches"
"""That of the number of batches that start values come from."""


def build_ulq(values: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """`values` by FakeQuantWithMinMaxVars over [min(clip_min, 0), max(clip_max, 0+)].

    Variables: ``<key>/ULQ_clip_max``, ``<key>/ULQ_clip_min`` (trained; no minimum when it is
    fixed at 0) and ``<key>/ULQ_batches`` (how many batches the start values come from). Options:

    - ``batch_num``: batches that the start values are searched on; 1 by default.
    - ``clip_max``, ``clip_min``: start values instead of a search; both or neither.
    - ``fixed_min``: whether the minimum stays 0.
    - ``behind``: ``"Relu"`` or ``"Relu6"`` where that returns `values`; no range ends above 6 then
      behind a Relu6.
    - ``bypassed``: whether `values` are what goes into that function instead: the minimum is fixed
      at 0, and the quantiser cuts off what the function would.

    Raises:
        ConfigError: The grid is narrow; only one range per tensor is trained.
    """
    grid, options = request.grid, request.options
    if grid.narrow or request.axes:
        raise ConfigError(f"ulq_quantize trains one full-grid range per tensor, not {request!r}")
    clip_max, clip_min = options.get("clip_max"), options.get("clip_min")
    searched = clip_max is None or clip_min is None
    batches = int(options.get("batch_num", 1)) if searched else 0
    high = stored(request.key, CLIP_MAX, 1.0 if clip_max is None else clip_max)
    fixed_min = bool(options.get("fixed_min"))
    behind = options.get("behind")
    below_6 = behind == "Relu6"
    ceiling = 6.0 if below_6 else math.inf
    if fixed_min:
        with tf.control_dependencies(None):
            low = tf.constant(0.0, name="clip_min")
    else:
        low = stored(request.key, CLIP_MIN, -1.0 if clip_min is None else clip_min)
    if searched:
        seen = stored(request.key, BATCHES, 0, trainable=False)
        bypassed = behind if options.get("bypassed") else None
        function = functions.searched_range(grid.levels, batches, fixed_min, ceiling, bypassed)
        gradient = gradients.SEARCHED_RANGE_TO_6 if below_6 else gradients.SEARCHED_RANGE
        used_low, used_high, _ = call(function, [values, low, high, seen], gradient, "range")
    else:
        with tf.control_dependencies(None):
            seen = tf.constant(0, name="seen")
        function = functions.bounded_range(grid.levels, ceiling)
        gradient = gradients.BOUNDED_RANGE_TO_6 if below_6 else gradients.BOUNDED_RANGE
        used_low, used_high = call(function, [low, high], gradient, "range")
    gradient = gradients.ULQ_TO_6 if below_6 else gradients.ULQ
    with values.graph.gradient_override_map({"FakeQuantWithMinMaxVars": gradient}):
        output = tf.quantization.fake_quant_with_min_max_vars(
            values, used_low, used_high, num_bits=grid.bits, name="FakeQuantWithMinMaxVars"
        )
    # The factors come from the variables alone: reading them needs no data and no cond.
    with tf.control_dependencies(None):
        factors = functions.range_factors(grid.levels, grid.minimum, batches, ceiling)
        scale, offset, calibrated = call(
            factors, [low, high, seen], gradients.NO_GRADIENT, "factors"
        )
    return FakeQuantized(output, scale, offset, grid, calibrated if searched else None)
