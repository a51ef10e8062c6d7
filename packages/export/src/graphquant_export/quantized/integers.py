"""The integers of a deployed layer: weight codes, bias codes, dequantisation scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_core.channels import per_channel_shape
from graphquant_core.exceptions import BiasOverflowError, RecordError
from graphquant_core.value_grid import ValueGrid

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

ON_GRID = 1e-3
"""How far from an integer, in steps, a trained weight may lie: float32 rounding stays below."""

_INT32 = np.iinfo(np.int32)


def weight_steps(
    weight: npt.NDArray[Any], factor: Float64Array, scale_w: Float32Array, axes: Sequence[int]
) -> Float64Array:
    """weight * factor / scale_w per channel, float64: the codes, before they are rounded.

    Args:
        weight: Weight as the layer takes it.
        factor: ``[C]`` factor of what is folded into it.
        scale_w: ``[1]`` or ``[C]``, scale of the folded weight.
        axes: Axes of `weight` whose row-major product is C.
    """
    per_channel = factor / scale_w.astype(np.float64)
    return weight.astype(np.float64) * per_channel.reshape(per_channel_shape(weight.shape, axes))


def distance_from_grid(steps: Float64Array) -> float:
    """Largest distance of `steps` from the integers -128 … 127; 0.0 for no steps."""
    return float(np.max(np.abs(steps - np.clip(np.rint(steps), -128, 127)), initial=0.0))


def weight_codes(steps: Float64Array) -> npt.NDArray[np.int8]:
    """clip(round(steps), -128, 127), ties to even."""
    return np.clip(np.rint(steps), -128, 127).astype(np.int8)


def dequantization_scale(scale_d: float, scale_w: Float32Array | None) -> Float32Array:
    """scale_d * scale_w, float32 ``[1]`` or ``[C]``; scale_d alone for a layer without weight."""
    if scale_w is None:
        return np.array([scale_d], np.float32)
    return np.asarray(np.float32(scale_d) * scale_w, dtype=np.float32)


def hardware_scale(scale: Float32Array) -> npt.NDArray[np.uint64]:
    """The bits of `scale` in the low 32 bits of uint64, the high ones zero."""
    return np.ascontiguousarray(scale).view(np.uint32).astype(np.uint64)


def bias_codes(layer: str, bias: Float64Array, scale: Float32Array) -> npt.NDArray[np.int32]:
    """round(bias / scale), int32 ``[C]``.

    `scale` is what the device multiplies the sum by, float32(scale_d * scale_w), so that the bias
    comes back as near as the grid allows.

    Raises:
        BiasOverflowError: A value is beyond int32; names the layer and the value.
    """
    codes = np.rint(bias / scale.astype(np.float64))
    outside = (codes < _INT32.min) | (codes > _INT32.max)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise BiasOverflowError(
            f'Quantized bias {codes[first]:.0f} of layer "{layer}" (channel {first}, bias '
            f"{bias[first]:.6g}, step {scale[first % len(scale)]:.6g}) exceeds the int32 range: "
            f"[{_INT32.min}, {_INT32.max}], please add the layer to skip_layers in the config"
        )
    return codes.astype(np.int32)


def zero_point_shift(scale: Float32Array, result: ValueGrid) -> Float64Array:
    """(round(p) - p) * scale, p = zero_point * result.scale / scale: float64, the shape of `scale`.

    What a kernel is off that adds the zero point of `result` to a sum whose step is `scale`, as a
    whole number of such steps.
    """
    step = scale.astype(np.float64)
    steps = result.zero_point * result.scale / step
    return np.asarray((np.rint(steps) - steps) * step)


def off_grid_error(
    layer: str, distance: float, *, one_scale: bool, factors_differ: bool
) -> RecordError:
    """The error for a trained weight that lies `distance` steps off the grid of the record.

    Args:
        layer: Name of the layer.
        distance: Largest distance of a weight from an integer -128 … 127, in steps.
        one_scale: Whether the record has one scale_w for all channels.
        factors_differ: Whether what folds into the weight differs from channel to channel.
    """
    reason = "train, write the record and freeze the model with the same checkpoint"
    if one_scale and factors_differ:
        reason = (
            "it has one scale_w, but the batch norm or the factors behind the layer differ per "
            "channel and need one for each channel"
        )
    return RecordError(
        f'the record does not belong to this model: the weight of layer "{layer}" lies up to '
        f"{distance:.3g} steps off the grid of its scale_w; {reason}"
    )
