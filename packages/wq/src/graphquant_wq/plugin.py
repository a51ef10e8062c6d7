"""The weight strategies, registered through the hooks of graphquant-core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.hookspecs import hookimpl

if TYPE_CHECKING:
    import tensorflow as tf

    from graphquant_core.quantizers import FakeQuantized, QuantizerRequest, WeightQuantizer


class MaxAbs:
    """mnncompress' formula: symmetric, by the live largest weight of each group."""

    name = "max_abs"

    def build(self, weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """See `graphquant_wq.strategies.max_abs.build_max_abs`."""
        from graphquant_wq.strategies.max_abs import build_max_abs

        return build_max_abs(weight, request)


@hookimpl
def graphquant_weight_quantizers() -> list[WeightQuantizer]:
    """``max_abs``."""
    return [MaxAbs()]
