"""Compares the weights in an .mnn file with those of the frozen graph that it came from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.graph import BatchNorm, GraphView, Scale, Shift, affine_tail
from graphquant_core.graph.frozen import evaluate_constants, import_frozen
from graphquant_core.graph.frozen.fold_batch_norm import batch_norm_factors
from graphquant_core.layer import Layer
from graphquant_core.suggestions import closest
from graphquant_export.quantized.weight_codes import SMALLEST_SCALE, mnn_quantize
from graphquant_export.quantized.weight_groups import mnn_grouping
from graphquant_export.targets.mnn.compress_params import LayerParams
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.model_file import MnnLayer, read_mnn_layers
from graphquant_export.targets.mnn.op_names import mnn_op_names

TOLERANCE = 1e-3
"""A stored weight further than this many steps from the frozen one is a mismatch."""


@attrs.frozen
class LayerComparison:
    """One layer of the MNN model beside the same layer of the frozen graph.

    Attributes:
        name: Name of the TensorFlow op.
        mnn_name: Name of the MNN op.
        bits: Bits of the codes in the MNN model.
        asymmetric: Whether its groups have a minimum.
        weights: Number of weights.
        mismatches: Weights whose stored value is another than the frozen one.
        scale_error: Largest relative difference of a scale from the frozen weight's.
        zeros: Weights that are exactly 0.0 in the MNN model.
    """

    name: str
    mnn_name: str
    bits: int
    asymmetric: bool
    weights: int
    mismatches: int
    scale_error: float
    zeros: int


def compare_weights(
    frozen: tf.compat.v1.GraphDef, mnn_file: str | os.PathLike[str], params: Iterable[LayerParams]
) -> tuple[LayerComparison, ...]:
    """Every layer that `params` quantises, as `mnn_file` holds it.

    Args:
        frozen: The frozen graph that was converted.
        mnn_file: The model that the converter wrote.
        params: The compression parameters that it was given.

    Raises:
        UnsupportedLayerError: A layer of `params` stayed float, has other bits or another mode,
            or is not in the model; names it.
        ModelFileError: A file can't be read.
    """
    graph = import_frozen(frozen)
    view = GraphView(graph)
    stored = read_mnn_layers(mnn_file)
    wanted = {layer.op_name: layer for layer in params}
    found: dict[str, tuple[Layer, int]] = {}
    for layer in plan_for_mnn(graph, view=view).layers:
        for index, name in enumerate(mnn_op_names(view, layer)):
            found[name] = (layer, index)
    for name, layer_params in wanted.items():
        _check_stored(name, layer_params, stored, found)
    weights = _folded_weights(view, [found[name][0] for name in wanted])
    return tuple(
        _compare(*found[name], weights[found[name][0].name], wanted[name], stored[name])
        for name in wanted
    )


def _check_stored(
    name: str,
    params: LayerParams,
    stored: Mapping[str, MnnLayer],
    found: Mapping[str, tuple[Layer, int]],
) -> None:
    if name not in found:
        raise UnsupportedLayerError(
            f'layer "{name}" of the compression parameters is not in the frozen graph'
            f"{closest(name, found)}"
        )
    where = f'layer "{found[name][0].name}" ("{name}" in MNN)'
    if name not in stored:
        raise UnsupportedLayerError(f"{where} is not in the MNN model{closest(name, stored)}")
    weight = stored[name].weight
    if weight is None:
        raise UnsupportedLayerError(f"{where} stayed float in the MNN model")
    if (weight.bits, weight.asymmetric) != (params.bits, params.asymmetric):
        raise UnsupportedLayerError(
            f"{where} has {weight.bits} bits, {_mode(weight.asymmetric)}, in the MNN model "
            f"instead of {params.bits} bits, {_mode(params.asymmetric)}"
        )


def _mode(asymmetric: bool) -> str:
    return "asymmetric" if asymmetric else "symmetric"


def _folded_weights(view: GraphView, layers: list[Layer]) -> dict[str, npt.NDArray[np.float32]]:
    """The weight of each layer, times the factor of the batch norm that MNN folds into it."""
    norms = {layer.name: _batch_norm(view, layer) for layer in layers}
    tensors: dict[str, tf.Tensor] = {}
    for layer in layers:
        op = view.graph.get_operation_by_name(layer.name)
        tensors[op.inputs[layer.weight_port].name] = op.inputs[layer.weight_port]
        norm = norms[layer.name]
        for tensor in () if norm is None else (norm.gamma, norm.beta, norm.mean, norm.variance):
            tensors[tensor.name] = tensor
    found = evaluate_constants(view.graph, list(tensors.values()))
    values = dict(zip(tensors, found, strict=True))
    folded = {}
    for layer in layers:
        op = view.graph.get_operation_by_name(layer.name)
        weight = np.asarray(values[op.inputs[layer.weight_port].name], np.float32)
        norm = norms[layer.name]
        if norm is not None:
            gamma, beta, mean, variance = (
                values[t.name] for t in (norm.gamma, norm.beta, norm.mean, norm.variance)
            )
            factor, _ = batch_norm_factors(gamma, beta, mean, variance, norm.epsilon)
            weight = weight * factor_for(layer, factor.astype(np.float32))
        folded[layer.name] = weight
    return folded


def factor_for(layer: Layer, factor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`factor`, one number for each output channel, in a shape that multiplies the weight."""
    shape = [
        size if axis in layer.weight_channel_axes else 1
        for axis, size in enumerate(layer.weight_shape or ())
    ]
    return factor.reshape(shape)


def _batch_norm(view: GraphView, layer: Layer) -> BatchNorm | None:
    """The batch norm that MNN folds into `layer`: right behind it or its bias."""
    output = view.graph.get_operation_by_name(layer.name).outputs[0]
    for step in affine_tail(view, output, layer.output_channel_axis, layer.output_channels or 0):
        if isinstance(step, BatchNorm):
            return step
        if isinstance(step, Scale) or (isinstance(step, Shift) and step.sign < 0):
            return None
    return None


def _compare(
    layer: Layer,
    index: int,
    weight: npt.NDArray[np.float32],
    params: LayerParams,
    stored: MnnLayer,
) -> LayerComparison:
    assert stored.weight is not None
    rows = mnn_grouping(layer, params.block_size).rows(weight)
    count = len(stored.weight.codes)
    rows = rows[index * count : (index + 1) * count]
    values = stored.weight.values()
    if values.shape != rows.shape:
        raise UnsupportedLayerError(
            f'layer "{layer.name}" has {values.shape[0]} groups of {values.shape[1]} weights in '
            f"the MNN model instead of {rows.shape[0]} of {rows.shape[1]}"
        )
    expected = mnn_quantize(rows, params.bits, params.asymmetric)
    scale = np.maximum(expected.scale, SMALLEST_SCALE)
    live = expected.scale > SMALLEST_SCALE
    # MNN holds one code of a group that isn't live: its weights must be that value.
    limit = np.where(live, TOLERANCE * scale, SMALLEST_SCALE)
    off = np.abs(values - rows) > limit[:, None]
    difference = np.abs(stored.weight.scale - expected.scale)[live] / scale[live]
    return LayerComparison(
        name=layer.name,
        mnn_name=stored.name,
        bits=stored.weight.bits,
        asymmetric=stored.weight.asymmetric,
        weights=rows.size,
        mismatches=int(np.count_nonzero(off)),
        scale_error=float(difference.max(initial=0.0)),
        zeros=int(np.count_nonzero(values == 0)),
    )
