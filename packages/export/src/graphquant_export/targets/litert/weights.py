"""The integers of a layer in the order in which its operator stores them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.exceptions import ModelFileError
from graphquant_core.listing import choices
from graphquant_export.quantized.simulate import SimulatedLayer
from graphquant_export.targets.litert.float_graph import FloatGraph, Op
from graphquant_export.targets.litert.kinds import WEIGHT_PORTS

KINDS = {
    "AvgPool": ("AVERAGE_POOL_2D",),
    "Conv2D": ("CONV_2D",),
    "Conv2DBackpropInput": ("TRANSPOSE_CONV",),
    "DepthwiseConv2dNative": ("DEPTHWISE_CONV_2D", "CONV_2D"),
    "MatMul": ("FULLY_CONNECTED",),
}
"""Operators that the converter makes of an op type."""

Array = npt.NDArray[Any]


@attrs.frozen(eq=False)
class StoredLayer:
    """A layer and its operator.

    Attributes:
        layer: The layer.
        op: Index of its operator.
        codes: int8 weight in the operator's layout; ``None`` without weight.
        bias: int32 ``[C]``; zeros when the layer has none.
        weight_scale: float32 ``[1]`` or ``[C]``; ``None`` without weight.
        bias_scale: float32 ``[1]`` or ``[C]``.
    """

    layer: SimulatedLayer
    op: int
    codes: npt.NDArray[np.int8] | None
    bias: npt.NDArray[np.int32] | None
    weight_scale: npt.NDArray[np.float32] | None
    bias_scale: npt.NDArray[np.float32]


def store_layer(graph: FloatGraph, layer: SimulatedLayer) -> StoredLayer | None:
    """`layer` as its operator in `graph` stores it; ``None`` for an op type without int8 kernel.

    Raises:
        ModelFileError: The converter dropped the layer, or changed its weight or its bias.
    """
    if layer.op_type not in KINDS:
        return None
    index = _operator(graph, layer)
    op = graph.ops[index]
    if layer.weight_codes is None or layer.weight_scale is None:
        return StoredLayer(layer, index, None, None, None, layer.scale)
    ports = WEIGHT_PORTS[op.kind]
    stored = graph.constant(op.inputs[ports.weight].tensor)
    shape = per_channel_shape(layer.weight_codes.shape, layer.weight_axes)
    values = layer.weight_codes.astype(np.float32) * layer.weight_scale.reshape(shape)
    pairs = zip(_layouts(layer.weight_codes), _layouts(values), strict=True)
    codes = next((codes for codes, ordered in pairs if _equal(ordered, stored)), None)
    if codes is None:
        raise ModelFileError(f'layer "{layer.name}": TensorFlow\'s converter changed its weight')
    bias = layer.bias_codes
    if bias is None:
        bias = np.zeros(codes.shape[ports.channel_axis], np.int32)
    _check_bias(graph, op, layer, bias)
    codes = np.ascontiguousarray(codes)
    return StoredLayer(layer, index, codes, bias, layer.weight_scale, layer.scale)


def layer_names(graph: FloatGraph, graph_def: tf.compat.v1.GraphDef) -> dict[int, str]:
    """Name of the layer that each operator of `graph` with a weight computes, by its index."""
    types = {node.name: node.op for node in graph_def.node}
    names: dict[int, str] = {}
    for index, op in enumerate(graph.ops):
        for node in op.nodes if op.kind in WEIGHT_PORTS else ():
            if op.kind in KINDS.get(types.get(node, ""), ()):
                names[index] = node
    return names


def _operator(graph: FloatGraph, layer: SimulatedLayer) -> int:
    for index, op in enumerate(graph.ops):
        if op.kind in KINDS[layer.op_type] and layer.node in op.nodes:
            return index
    raise ModelFileError(
        f'layer "{layer.name}" ({layer.op_type}) has no operator of its own in what TensorFlow\'s '
        f"converter made: none of {choices(KINDS[layer.op_type])} is called so"
    )


def _layouts(weight: Array) -> Iterator[Array]:
    """Every order in which an operator may store `weight`."""
    if weight.ndim == 2:
        yield weight.T
        yield weight
        return
    yield weight.transpose(3, 0, 1, 2)
    yield weight.transpose(2, 0, 1, 3)
    yield weight.reshape(1, *weight.shape[:2], -1)


def _equal(values: Array, stored: Array | None) -> bool:
    return stored is not None and np.array_equal(values, stored)


def _check_bias(graph: FloatGraph, op: Op, layer: SimulatedLayer, codes: Array) -> None:
    edge = op.inputs[WEIGHT_PORTS[op.kind].bias :][:1]
    stored = graph.constant(edge[0].tensor) if edge else None
    expected = (codes.astype(np.float64) * layer.scale.astype(np.float64)).astype(np.float32)
    if stored is None:
        stored = np.zeros_like(expected)
    if not np.array_equal(stored.reshape(-1), expected):
        raise ModelFileError(f'layer "{layer.name}": TensorFlow\'s converter changed its bias')
