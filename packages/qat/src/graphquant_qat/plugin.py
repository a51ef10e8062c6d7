"""ULQ, ARQ and learned weight scales, registered through the hooks of graphquant-core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.hookspecs import hookimpl

if TYPE_CHECKING:
    import tensorflow as tf

    from graphquant_core.quantizers import (
        ActivationQuantizer,
        FakeQuantized,
        QuantizerRequest,
        WeightQuantizer,
    )


class UlqQuantizer:
    """AMCT's universal linear quantisation: a trained range for each activation."""

    name = "ulq_quantize"
    computes = frozenset({"Relu", "Relu6"})

    def build(self, values: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """See `graphquant_qat.graph.ulq.build_ulq`."""
        from graphquant_qat.graph.ulq import build_ulq

        return build_ulq(values, request)


class ArqQuantizer:
    """AMCT's adaptive range quantisation: the live largest weight of each channel."""

    name = "arq_retrain"
    any_shape = True

    def build(self, weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """See `graphquant_qat.graph.arq.build_arq`."""
        from graphquant_qat.graph.arq import build_arq

        return build_arq(weight, request)


class UlqRetrainQuantizer:
    """AMCT's ulq_retrain for weights: a learned scale for each channel."""

    name = "ulq_retrain"

    def build(self, weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """See `graphquant_qat.graph.lsq.build_lsq`."""
        from graphquant_qat.graph.lsq import build_lsq

        return build_lsq(weight, request)


@hookimpl
def graphquant_activation_quantizers() -> list[ActivationQuantizer]:
    """``ulq_quantize``."""
    return [UlqQuantizer()]


@hookimpl
def graphquant_weight_quantizers() -> list[WeightQuantizer]:
    """``arq_retrain`` and ``ulq_retrain``."""
    return [ArqQuantizer(), UlqRetrainQuantizer()]
