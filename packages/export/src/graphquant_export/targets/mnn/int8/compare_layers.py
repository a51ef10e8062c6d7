"""Compares an .mnn file with the record that it was made of, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np

from graphquant_core.exceptions import RangeError, UnsupportedLayerError
from graphquant_export.quantized.weight_codes import MnnWeight
from graphquant_export.targets.mnn.int8.activation_grid import LOWEST, ActivationGrid
from graphquant_export.targets.mnn.int8.mnn_layers import LayerPart
from graphquant_export.targets.mnn.model_file import TensorGrid


@attrs.frozen
class StoredLayer:
    """One layer of the .mnn file beside the same layer of the record.

    Attributes:
        name: Name of the layer in the record.
        mnn_name: Name of the op in MNN.
        execution: ``"int8"``, or ``"int8 weights"`` when it computes with floats.
        weights: Number of weights.
        off_by: Largest difference of a stored weight from that of the record, in the record's
            steps; 0.0 when the codes are the same. A transposed convolution that computes with
            floats has scales of MNN's own, across channels.
    """

    name: str
    mnn_name: str
    execution: str
    weights: int
    off_by: float


def compare_layers(parts: Iterable[LayerPart]) -> tuple[StoredLayer, ...]:
    """Every part with what the file holds of it.

    Raises:
        UnsupportedLayerError: A layer stayed float in MNN; names it.
        RangeError: Codes, scales or activation parameters of a layer are others than the record's;
            names the layer, the value and what was wanted.
    """
    return tuple(_compare(part) for part in parts)


def _compare(part: LayerPart) -> StoredLayer:
    weight = part.stored.weight
    if weight is None:
        raise UnsupportedLayerError(f"{part.where} stayed float in the MNN model")
    if weight.codes.shape != part.codes.shape:
        raise RangeError(
            f"{part.where} has {weight.codes.shape[0]} groups of {weight.codes.shape[1]} weights "
            f"instead of {part.codes.shape[0]} of {part.codes.shape[1]}"
        )
    if part.output is not None:
        _check_int8(part)
    if part.scale.ndim == 1:
        _check_weight(part, weight)
    return StoredLayer(
        part.planned.simulated.name,
        part.stored.name,
        part.planned.execution,
        int(part.codes.size),
        0.0 if part.scale.ndim == 1 else _off_by(part, weight),
    )


def _off_by(part: LayerPart, weight: MnnWeight) -> float:
    """Largest difference of a stored weight from that of the record, in the record's steps."""
    wanted = part.codes.astype(np.float64) * part.scale
    got = weight.codes.astype(np.float64) * weight.scale[:, None]
    return float(np.max(np.abs(got - wanted) / part.scale, initial=0.0))


def _check_int8(part: LayerPart) -> None:
    if not part.stored.int8:
        raise UnsupportedLayerError(
            f"{part.where} stayed float in the MNN model, although it was given int8 parameters"
        )
    _check_grid(part, "activation", part.stored.input, part.input)
    _check_grid(part, "result", part.stored.output, part.output)


def _check_weight(part: LayerPart, weight: MnnWeight) -> None:
    if not np.array_equal(weight.codes, part.codes):
        wrong = int(np.count_nonzero(weight.codes != part.codes))
        raise RangeError(
            f"{part.where}: {wrong} of {part.codes.size} weights have other codes in the MNN model "
            "than in the record"
        )
    if not np.array_equal(weight.scale, part.scale):
        channel = int(np.flatnonzero(weight.scale != part.scale)[0])
        raise RangeError(
            f"{part.where}: the scale of channel {channel} is {weight.scale[channel]!r} in the MNN "
            f"model instead of {part.scale[channel]!r}"
        )


def _check_grid(
    part: LayerPart, what: str, stored: TensorGrid | None, wanted: ActivationGrid | None
) -> None:
    assert wanted is not None
    grid = TensorGrid(wanted.scale, wanted.zero, LOWEST, wanted.highest)
    if stored != grid:
        raise RangeError(
            f"{part.where}: the grid of its {what} is {stored} in the MNN model instead of {grid}"
        )
