"""Whether a record fits a graph, and whether its numbers can be deployed."""

from __future__ import annotations

import math
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import RecordError, UnknownNameError
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_core.quantize import FLOAT32_EPSILON
from graphquant_core.record.factors import LayerFactors, Record
from graphquant_core.value_grid import ValueGrid

SMALLEST = float(FLOAT32_EPSILON)
"""Scales lie strictly between this and its reciprocal."""


def validate_record(record: Record, plan: Plan) -> None:
    """Return when every entry of `record` belongs to a layer of `plan` and can be deployed.

    Raises:
        RecordError: names the layer, the field and its value, and what is allowed.
    """
    for name, factors in record.items():
        try:
            layer = plan.layer(name)
        except UnknownNameError as error:
            raise RecordError(
                f'cannot use the record of layer "{name}", please match record and model: {error}'
            ) from error
        _check_types(name, factors)
        _check_activation(name, factors.activation_grid)
        _check_weight(layer, factors)
        _check_balance(layer, factors)
        _check_correction(layer, factors)
    for name, grid in record.value_grids.items():
        _check_activation(name, grid)


def _check_types(name: str, factors: LayerFactors) -> None:
    if factors.dst_type not in (None, "INT8"):
        _refuse(name, f'dst_type ("{factors.dst_type}")', 'must be "INT8"')


def _check_activation(name: str, grid: ValueGrid) -> None:
    _check_scale(name, "scale_d", grid.scale)
    if not -128 <= grid.zero_point <= 127:
        _refuse(name, f"offset_d ({grid.zero_point})", "must be from -128 to 127")


def _check_weight(layer: Layer, factors: LayerFactors) -> None:
    name, scale, offset = layer.name, factors.scale_w, factors.offset_w
    if layer.weight_port is None:
        if scale is not None or offset is not None:
            found = "scale_w" if scale is not None else "offset_w"
            _refuse(name, found, f"is not wanted: a layer of type {layer.op_type} has no weight")
        return
    if scale is None:
        _refuse(name, "scale_w", "is missing")
    channels = layer.output_channels
    if len(scale) not in (1, channels):
        _refuse(
            name, f"scale_w ({len(scale)} values)", f"must have 1 or {channels}: one per channel"
        )
    _check_scales(name, "scale_w", scale)
    if offset is None or len(offset) != len(scale):
        count = 0 if offset is None else len(offset)
        _refuse(name, f"offset_w ({count} values)", f"must have as many as scale_w ({len(scale)})")
    if np.any(offset):
        _refuse(name, f"offset_w ({offset[np.flatnonzero(offset)[0]]})", "must be 0")


def _check_balance(layer: Layer, factors: LayerFactors) -> None:
    if factors.balance is None:
        return
    if layer.weight_shape is None or layer.weight_input_axis is None:
        rule = f"is not wanted: {layer.op_type} has no weight for each channel that it takes"
        _refuse(layer.name, "tensor_balance_factor", rule)
    channels = layer.weight_shape[layer.weight_input_axis]
    if len(factors.balance) != channels:
        found = f"tensor_balance_factor ({len(factors.balance)} values)"
        _refuse(layer.name, found, f"must have {channels}: one for each channel that it takes")
    _check_scales(layer.name, "tensor_balance_factor", factors.balance)


def _check_correction(layer: Layer, factors: LayerFactors) -> None:
    correction = factors.bias_correction
    if correction is None:
        return
    if len(correction) != layer.output_channels:
        found = f"the correction of the bias ({len(correction)} values)"
        _refuse(layer.name, found, f"must have {layer.output_channels or 0}: one per channel")
    if not np.isfinite(correction).all():
        _refuse(layer.name, "the correction of the bias", "must be finite")


def _check_scale(name: str, field: str, value: float) -> None:
    if not (math.isfinite(value) and SMALLEST < value < 1 / SMALLEST):
        _refuse(
            name,
            f"{field} ({value:.9g})",
            f"must be above {SMALLEST:.9g} and below {1 / SMALLEST:.9g}",
        )


def _check_scales(name: str, field: str, values: npt.NDArray[np.floating]) -> None:
    """As `_check_scale` each of `values`; those that can't be wrong are not asked one by one."""
    doubles = np.asarray(values, np.float64)
    for value in doubles[~((doubles > SMALLEST) & (doubles < 1 / SMALLEST))]:
        _check_scale(name, field, float(value))


def _refuse(name: str, what: str, rule: str) -> NoReturn:
    raise RecordError(f'{what} of layer "{name}" {rule}')
