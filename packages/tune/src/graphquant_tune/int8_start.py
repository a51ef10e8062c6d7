"""Where tuning in int8 begins: at the ranges and biases that were found without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.channels import channel_matrix
from graphquant_core.grid import INT8
from graphquant_core.record import LayerFactors, Record
from graphquant_core.value_grid import ValueGrid
from graphquant_qat.graph.insert_values import value_key
from graphquant_qat.graph.ulq import BATCHES, CLIP_MAX, CLIP_MIN
from graphquant_tune.folded import FoldedLayer, FoldedModel

Float32Array = npt.NDArray[np.float32]
SMALLEST = float(np.finfo(np.float32).tiny)


def with_corrections(model: FoldedModel, record: Record) -> FoldedModel:
    """`model` with the corrections of its biases, which `record` holds, in the biases."""
    values = model.values()
    corrected = {}
    for layer in model.layers:
        factors = record.factors.get(layer.name)
        if layer.bias is not None and factors is not None and factors.bias_correction is not None:
            corrected[layer.bias] = values[layer.bias] + factors.bias_correction
    return attrs.evolve(model, graph_def=model.with_values(corrected))


def with_ranges(config: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """The entries of `config` for the layers of `record`, each starting from the range there.

    Args:
        config: What `create_quant_retrain_config` wrote.
        record: Ranges of layers.
    """
    kept = {name: config[name] for name in config if name in ("version", "batch_num")}
    for name, factors in record.items():
        grid = ValueGrid(factors.scale_d, factors.offset_d)
        kept[name] = {**config[name], "retrain_data_config": _range(grid)}
    return kept


def ranges_of_values(record: Record) -> dict[str, float]:
    """Values of the variables of what the target rounds besides, by the variables' names.

    A configuration has no entry for a value that a layer takes which stays float.
    """
    found: dict[str, float] = {}
    for name, grid in record.value_grids.items():
        key = value_key(name)
        ends = {CLIP_MAX: grid.high, CLIP_MIN: grid.low, BATCHES: 1}
        found |= {f"{key}/{variable}": value for variable, value in ends.items()}
    return found


def _range(grid: ValueGrid) -> dict[str, Any]:
    """AMCT's entry for it: its clips lie on either side of zero, unless the lower one is fixed."""
    entry: dict[str, Any] = {"algo": "ulq_quantize", "dst_type": "INT8"}
    entry |= {"clip_max": max(grid.high, SMALLEST), "clip_min": min(grid.low, -SMALLEST)}
    return entry | ({"fixed_min": True} if grid.low == 0 else {})


def step_units(model: FoldedModel, record: Record) -> dict[str, Float32Array]:
    """What counts as 1 for each weight and bias, by the names of the constants.

    A step of its channel's grid for a weight, and for a bias what such a step moves the largest
    input by, 255 scale_d scale_w, so that one rate fits layers of any size. A channel of zeros has
    no step: it stays as it is.
    """
    values = model.values()
    units: dict[str, Float32Array] = {}
    for layer in model.layers:
        factors = record.factors.get(layer.name)
        if factors is not None:
            steps = _steps(layer, values[layer.weight], factors)
            units[layer.weight] = layer.along_channels(steps)
            if layer.bias is not None:
                units[layer.bias] = steps * np.float32(INT8.levels * factors.scale_d)
    return units


def _steps(layer: FoldedLayer, weight: Float32Array, factors: LayerFactors) -> Float32Array:
    """The step of each output channel's grid, float32 ``[C]``; 0 for a channel of zeros."""
    axes = layer.layer.weight_channel_axes
    largest = np.abs(channel_matrix(weight, axes)).max(axis=0)
    scales = np.broadcast_to(np.asarray(factors.scale_w, np.float32), largest.shape)
    return np.where(largest > 0, scales, np.float32(0))
