"""ARQ in the graph: fake quantisation of a weight by its live largest value."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.function_call import call
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_qat.graph import functions, gradients


def build_arq(weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
    """round(w / scale) * scale, scale = max|w| / 127 of a channel; straight-through gradient.

    A dead channel (scale below 1.192092896e-7) gets scale 1.0 and stays zero. No variables.

    Raises:
        ConfigError: The grid isn't narrow: ±127 is what folds a batch norm of either sign.
    """
    if not request.grid.narrow:
        raise ConfigError(f"arq_retrain needs a narrow grid, not {request.grid}")
    function = functions.largest_scale(weight.shape.rank, request.axes, request.grid.maximum)
    scale, factors, offset = call(function, [weight], gradients.NO_GRADIENT, "scale")
    straight_through = {
        "RealDiv": gradients.FIRST_ONLY,
        "Round": gradients.STRAIGHT_THROUGH,
        "Mul": gradients.FIRST_ONLY,
    }
    with weight.graph.gradient_override_map(straight_through):
        output = tf.multiply(tf.round(weight / scale), scale, name="on_grid")
    return FakeQuantized(output, factors, offset, request.grid)
