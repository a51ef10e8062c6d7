"""Transposed convolutions whose sums are rounded once.

XNNPACK computes TRANSPOSE_CONV where the shape of its result is constant. Where it isn't, as with a
batch of any size, LiteRT's own kernel does, which rounds twice, so that it returns another code for
one value of a thousand. There a convolution takes its place:

    [PAD] -> CONV_2D -> [DEPTH_TO_SPACE] -> [SLICE]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_export.quantized.subpixels import (
    Axis,
    common_block,
    same_crop,
    subpixel_weight,
)
from graphquant_export.targets.litert import names
from graphquant_export.targets.litert.float_graph import Edge, FloatGraph, Op
from graphquant_export.targets.litert.grids import Grids
from graphquant_export.targets.litert.kinds import WEIGHT_PORTS
from graphquant_export.targets.litert.new_operators import new_constant, new_operator, new_value
from graphquant_export.targets.litert.schema import schema
from graphquant_export.targets.litert.transposes import used
from graphquant_export.targets.litert.weights import StoredLayer

KIND = "TRANSPOSE_CONV"
SHAPE_PORT = 0


def with_single_rounding(
    graph: FloatGraph, grids: Grids, layers: Sequence[StoredLayer]
) -> tuple[FloatGraph, list[StoredLayer]]:
    """`graph` and `layers` with other operators for transposed convolutions of computed shapes.

    One whose result has no grid, so that it computes with floats, stays as it is.
    """
    owners = {layer.op: layer for layer in layers}
    ops: list[Op] = []
    added: dict[int, str] = {}
    operators: dict[str, tuple[StoredLayer, Op]] = {}
    for index, op in enumerate(graph.ops):
        layer = owners.get(index)
        replaced = [op]
        if layer is not None and _rounds_twice(graph, grids, op):
            axes = _axes(graph, op)
            layer = _rearranged(layer, *axes)
            replaced, values = _convolution(graph, op, *axes)
            added |= values
        if layer is not None:
            first_is_pad = replaced[0].kind == "PAD"
            operators[layer.layer.name] = layer, replaced[first_is_pad]
        ops += replaced
    kept = used(ops, graph.outputs)
    places = {id(op): index for index, op in enumerate(kept)}
    graph = attrs.evolve(graph, ops=kept, names={**graph.names, **added})
    several = (operators[layer.layer.name] for layer in layers)
    return graph, [attrs.evolve(layer, op=places[id(op)]) for layer, op in several]


def _rounds_twice(graph: FloatGraph, grids: Grids, op: Op) -> bool:
    if op.kind != KIND or grids.of_value(op.outputs[0]) is None:
        return False
    shape = graph.model.buffers[graph.tensor(op.inputs[SHAPE_PORT].tensor).buffer].data
    return shape is None or not len(shape)


def _axes(graph: FloatGraph, op: Op) -> tuple[Axis, Axis]:
    ports, options = WEIGHT_PORTS[KIND], op.operator.builtinOptions
    strides = options.strideH, options.strideW
    taken = _sizes(graph, op.inputs[ports.activation].tensor)[1:3]
    kernel = _sizes(graph, op.inputs[ports.weight].tensor)[1:3]
    returned = _sizes(graph, op.outputs[0])[1:3]
    same = options.padding == schema.Padding.SAME
    height, width = (
        Axis(*sizes, common_block(strides), same_crop(*sizes) if same else 0)
        for sizes in zip(taken, returned, kernel, strides, strict=True)
    )
    return height, width


def _sizes(graph: FloatGraph, tensor: int) -> list[int]:
    """Sizes of a tensor, -1 for one that is not static."""
    table = graph.tensor(tensor)
    known = table.shape if table.shapeSignature is None else table.shapeSignature
    return [int(size) for size in known]


def _rearranged(layer: StoredLayer, height: Axis, width: Axis) -> StoredLayer:
    """`layer` with its integers as the convolution takes them."""
    assert layer.codes is not None
    assert layer.bias is not None
    copies = height.block * width.block
    return attrs.evolve(
        layer,
        codes=subpixel_weight(layer.codes, height, width),
        bias=np.tile(layer.bias.reshape(-1), copies),
        weight_scale=_of_each_copy(layer.weight_scale, copies),
        bias_scale=_of_each_copy(layer.bias_scale, copies),
    )


def _of_each_copy(scale: npt.NDArray[np.float32] | None, copies: int) -> Any:
    return scale if scale is None or len(scale) == 1 else np.tile(scale, copies)


def _convolution(
    graph: FloatGraph, op: Op, height: Axis, width: Axis
) -> tuple[list[Op], Mapping[int, str]]:
    """(the operators in the place of `op`, names of the values between them)."""
    options, ports = op.operator.builtinOptions, WEIGHT_PORTS[KIND]
    batch, depth = (_sizes(graph, op.inputs[ports.activation].tensor)[axis] for axis in (0, 3))
    channels, block = _sizes(graph, op.outputs[0])[3], height.block
    chain = _Chain(graph, op)
    if height.padding != (0, 0) or width.padding != (0, 0):
        padding = np.array([(0, 0), height.padding, width.padding, (0, 0)], np.int32)
        sizes = [batch, sum(height.padding) + height.size, sum(width.padding) + width.size, depth]
        chain.add("PAD", schema.PadOptionsT(), sizes, padding)
    convolution = schema.Conv2DOptionsT()
    convolution.padding = schema.Padding.VALID
    convolution.strideH, convolution.strideW = height.step, width.step
    convolution.dilationHFactor = convolution.dilationWFactor = 1
    convolution.fusedActivationFunction = options.fusedActivationFunction
    count = channels * block**2
    weight = np.zeros((count, height.length, width.length, depth), np.float32)
    bias = [graph.constant(edge.tensor) for edge in op.inputs[ports.bias :]] or [np.zeros(channels)]
    copies = np.tile(np.asarray(bias[0], np.float32).reshape(-1), block**2)
    sizes = [batch, height.count, width.count, count]
    chain.add("CONV_2D", convolution, sizes, weight, copies)
    if block > 1:
        spread = schema.DepthToSpaceOptionsT()
        spread.blockSize = block
        sizes = [batch, height.count * block, width.count * block, channels]
        chain.add("DEPTH_TO_SPACE", spread, sizes)
    if not (height.is_whole and width.is_whole):
        begin = np.array([0, height.crop, width.crop, 0], np.int32)
        size = np.array([-1, height.result, width.result, -1], np.int32)
        chain.add("SLICE", schema.SliceOptionsT(), [*size], begin, size)
    return chain.ending_like_before(), chain.names


class _Chain:
    """Operators one behind the other, the first of which takes what `op` takes."""

    def __init__(self, graph: FloatGraph, op: Op) -> None:
        self._model, self._op = graph.model, op
        self._edge = op.inputs[WEIGHT_PORTS[KIND].activation]
        self._ops: list[Op] = []
        self.names: dict[int, str] = {}

    def add(
        self, kind: str, options: Any, sizes: Sequence[int], *constants: npt.NDArray[Any]
    ) -> None:
        """One more, which returns a tensor of `sizes` and also takes `constants`."""
        name = names.part_name(self._op.nodes[0], kind)
        options_type = type(options).__name__.removesuffix("T")
        operator = new_operator(self._model, kind, options_type, options)
        others = [new_constant(self._model, name, value) for value in constants]
        value = new_value(self._model, name, sizes)
        self._ops.append(Op(kind, operator, (self._edge, *others), (value,), self._op.nodes))
        self.names[value] = name
        self._edge = Edge(value)

    def ending_like_before(self) -> list[Op]:
        """The operators, the last of which returns what `op` did."""
        last = self._ops.pop()
        del self.names[last.outputs[0]]
        return [*self._ops, attrs.evolve(last, outputs=self._op.outputs)]
