"""Average pooling that rounds once.

AVERAGE_POOL_2D returns int8 on the grid of its input, so that an average is rounded twice on its
way to the next layer. MEAN over a whole image and a depthwise convolution with equal weights give
the grid that is wanted, as the simulation does.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np

from graphquant_export.targets.litert.float_graph import FloatGraph, Op
from graphquant_export.targets.litert.grids import Grids
from graphquant_export.targets.litert.new_operators import new_constant, new_operator
from graphquant_export.targets.litert.schema import schema
from graphquant_export.targets.litert.stored_weight import StoredWeight
from graphquant_export.targets.litert.weights import StoredLayer


def with_rescaling_pools(
    graph: FloatGraph, grids: Grids, layers: Iterable[StoredLayer]
) -> tuple[FloatGraph, dict[int, StoredWeight]]:
    """`graph` with other operators for poolings, and their weights by the index of the operator.

    A pooling whose result has no grid, or that leaves out padding, stays AVERAGE_POOL_2D.
    """
    ops = list(graph.ops)
    weights: dict[int, StoredWeight] = {}
    for stored in layers:
        op = ops[stored.op]
        if op.kind != "AVERAGE_POOL_2D" or grids.of_value(op.outputs[0]) is None:
            continue
        size, window, channels = _geometry(graph, op)
        if not _covers(op, size, window):
            continue
        activation = op.operator.builtinOptions.fusedActivationFunction
        if size == window and activation == schema.ActivationFunctionType.NONE:
            ops[stored.op] = _mean(graph, op)
        elif channels > 0:
            ops[stored.op] = _depthwise(graph, op, window, channels)
            codes = np.ones((1, *window, channels), np.int8)
            weights[stored.op] = StoredWeight(
                stored.layer.name,
                codes,
                np.array([1 / np.prod(window)], np.float32),
                axis=3,
                bias=np.zeros(channels, np.int32),
                bias_scale=np.array([stored.layer.scale_d / np.prod(window)], np.float32),
            )
    return attrs.evolve(graph, ops=tuple(ops)), weights


def _geometry(graph: FloatGraph, op: Op) -> tuple[tuple[int, int], tuple[int, int], int]:
    """(height and width of the image, of the window, channels); -1 for what is not static."""
    tensor = graph.tensor(op.inputs[0].tensor)
    known = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    _, height, width, channels = (int(size) for size in known)
    options = op.operator.builtinOptions
    return (height, width), (options.filterHeight, options.filterWidth), channels


def _covers(op: Op, size: tuple[int, int], window: tuple[int, int]) -> bool:
    """Whether no window reaches beyond the image."""
    options = op.operator.builtinOptions
    if options.padding == schema.Padding.VALID:
        return True
    strides = options.strideH, options.strideW
    needed = [(-(-n // s) - 1) * s + k for n, s, k in zip(size, strides, window, strict=True)]
    return min(size) > 0 and all(n >= k for n, k in zip(size, needed, strict=True))


def _mean(graph: FloatGraph, op: Op) -> Op:
    options = schema.ReducerOptionsT()
    options.keepDims = True
    operator = new_operator(graph.model, "MEAN", "ReducerOptions", options)
    axes = new_constant(graph.model, "axes", np.array([1, 2], np.int32))
    return attrs.evolve(op, kind="MEAN", operator=operator, inputs=(op.inputs[0], axes))


def _depthwise(graph: FloatGraph, op: Op, window: tuple[int, int], channels: int) -> Op:
    pooling = op.operator.builtinOptions
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH, options.strideW = pooling.strideH, pooling.strideW
    options.depthMultiplier = options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = pooling.fusedActivationFunction
    kind = "DEPTHWISE_CONV_2D"
    operator = new_operator(graph.model, kind, "DepthwiseConv2DOptions", options)
    weight = np.full((1, *window, channels), 1 / np.prod(window), np.float32)
    inputs = (
        op.inputs[0],
        new_constant(graph.model, "weight", weight),
        new_constant(graph.model, "bias", np.zeros(channels, np.float32)),
    )
    return attrs.evolve(op, kind=kind, operator=operator, inputs=inputs)
