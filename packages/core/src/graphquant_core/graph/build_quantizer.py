"""Let a quantiser build, and hold it to its contract."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.exceptions import GraphQuantError, PluginError
from graphquant_core.quantizers import (
    ActivationQuantizer,
    FakeQuantized,
    QuantizerRequest,
    WeightQuantizer,
)


def build_quantizer(
    quantizer: ActivationQuantizer | WeightQuantizer, values: tf.Tensor, request: QuantizerRequest
) -> FakeQuantized:
    """What `quantizer` builds of `values`, in the default graph.

    Raises:
        PluginError: `build` failed, or returned something else than a FakeQuantized whose output
            has the shape and the type of `values`; names the quantiser.
        GraphQuantError: `build` refused the request.
    """
    where = f'quantiser "{quantizer.name}"'
    try:
        built = quantizer.build(values, request)
    except GraphQuantError:
        raise
    except Exception as error:
        raise PluginError(f"{where} failed: {error!r}") from error
    if not isinstance(built, FakeQuantized):
        raise PluginError(f"{where} returned {type(built).__name__}, not FakeQuantized")
    output = built.output
    if output.dtype != values.dtype or not output.shape.is_compatible_with(values.shape):
        raise PluginError(
            f"{where} made {output.dtype.name} {output.shape} of {values.dtype.name} {values.shape}"
        )
    return built
