"""Scales of weights as ARQ sets them: the largest weight of each channel, batch norm folded in."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from graphquant_core.channels import channel_matrix, per_channel_shape
from graphquant_core.finite import check_finite
from graphquant_core.graph.frozen.fold_batch_norm import Values, folds
from graphquant_core.grid import INT8_NARROW
from graphquant_core.quantize import symmetric_scale
from graphquant_export.quantized.find_layers import LayerPlace

_INT32_MAX = 2**31 - 1


def weight_scales(
    place: LayerPlace, values: Values, scale_d: float, unit_scales: Collection[str] = ()
) -> npt.NDArray[np.float32]:
    """max|w * factor| / 127 for each output channel, or one for the weight of a MatMul.

    `factor` is that of the batch norm and the constants that the export folds into the weight. A
    scale is made larger where the bias would not fit into int32 otherwise.

    Args:
        place: A layer with a weight.
        values: Value of each tensor that `needed_tensors` lists for it.
        scale_d: Scale of its activation.
        unit_scales: Types of layers that have a scale for each output channel although AMCT gives
            them one.

    Returns:
        float32 ``[1]`` or ``[C]``.

    Raises:
        NonFiniteError: The weight or a folded factor is NaN or infinite.
    """
    assert place.weight is not None
    layer = place.layer
    weight = values[place.weight.name]
    check_finite(weight, f'the weight of layer "{layer.name}"')
    fold = folds(place.tail, values, layer.output_channels or 0)[-1]
    axes = layer.weight_channel_axes
    folded = weight.astype(np.float64) * fold.factor.reshape(per_channel_shape(weight.shape, axes))
    largest = np.abs(channel_matrix(folded, axes)).max(axis=0)
    bias = np.abs(fold.bias)
    if layer.one_weight_scale and layer.op_type not in unit_scales:
        largest, bias = largest.max(keepdims=True), bias.max(keepdims=True)
    scale = symmetric_scale(largest, INT8_NARROW)
    smallest = np.nextafter((bias / (scale_d * _INT32_MAX)).astype(np.float32), np.float32(np.inf))
    return np.maximum(scale, smallest * np.float32(bias > 0))
