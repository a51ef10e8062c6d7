"""The weight strategy "power_of_two": scales that a shift computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core import FakeQuantized, QuantizerRequest, hookimpl

if TYPE_CHECKING:
    import tensorflow as tf


class PowerOfTwo:
    """s = 2^floor(log2(max|w| / qmax)) of each channel; straight-through gradient."""

    name = "power_of_two"

    def build(self, weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """round(w / s) * s within ±qmax. At least one code is ±qmax: MNN finds the same s."""
        import tensorflow as tf

        maximum = request.grid.maximum
        others = [axis for axis in range(weight.shape.rank) if axis not in request.axes]
        step = tf.reduce_max(tf.abs(weight), others, keepdims=True) / maximum
        # Without its mantissa a float32 is a power of two. MNN drops steps of 1e-6 and below.
        exponent = tf.bitwise.bitwise_and(tf.bitcast(step, tf.int32), 0x7F800000)
        power = tf.bitcast(exponent, tf.float32)
        scale = tf.where(power > 1e-6, power, tf.ones_like(power))
        codes = tf.clip_by_value(tf.round(weight / scale), -maximum, maximum)
        codes = tf.where(power > 1e-6, codes, tf.zeros_like(codes))
        # The first term is the value, in every bit; the gradient is that of the second.
        output = tf.stop_gradient(codes * scale) + (weight - tf.stop_gradient(weight))
        factors = tf.reshape(tf.stop_gradient(scale), [-1] if request.axes else [])
        return FakeQuantized(output, factors, tf.zeros_like(factors, tf.int32), request.grid)


@hookimpl
def graphquant_weight_quantizers() -> list[PowerOfTwo]:
    """``power_of_two``."""
    return [PowerOfTwo()]
