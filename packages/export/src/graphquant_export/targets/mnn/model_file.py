"""The layers with a weight in an .mnn file."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

import attrs
import numpy as np

from graphquant_core.exceptions import ModelFileError
from graphquant_core.files import read_bytes
from graphquant_export.quantized.weight_codes import MnnWeight
from graphquant_export.targets.mnn.file_fields import (
    COMMON_OUTPUTS,
    COMMON_RELU,
    COMMON_RELU6,
    CONVOLUTION_2D,
    CONVOLUTION_COMMON,
    CONVOLUTION_INT8,
    CONVOLUTION_QUANTIZED,
    DESCRIPTION_GRID,
    DESCRIPTION_INDEX,
    GRID_HIGHEST,
    GRID_LOWEST,
    GRID_SCALE,
    GRID_ZERO,
    NET_DESCRIPTIONS,
    NET_OPS,
    NET_SUBGRAPHS,
    NET_TENSORS,
    OP_INPUTS,
    OP_MAIN,
    OP_MAIN_TYPE,
    OP_NAME,
    OP_OUTPUTS,
    OP_TYPE,
    OP_TYPES,
    SUBGRAPH_DESCRIPTIONS,
    SUBGRAPH_OPS,
    SUBGRAPH_TENSORS,
)
from graphquant_export.targets.mnn.flat_tables import FlatTable
from graphquant_export.targets.mnn.misnamed_tensors import NamedOp, misnamed_tensors
from graphquant_export.targets.mnn.stored_weights import read_weight


@attrs.frozen
class TensorGrid:
    """The grid of a tensor: x ≈ (q - zero) * scale, q from `lowest` to `highest`."""

    scale: float
    zero: float
    lowest: float
    highest: float

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest value on the grid."""
        return (self.lowest - self.zero) * self.scale, (self.highest - self.zero) * self.scale


@attrs.frozen(eq=False)
class MnnLayer:
    """A layer of an .mnn file.

    Attributes:
        name: Name of the op in MNN.
        op_type: ``Convolution``, ``ConvolutionDepthwise`` or ``Deconvolution``.
        outputs: Number of output channels.
        weight: Its codes and scales; ``None`` when the weight is float.
        tensors: Names of its first input and its first output.
        relu: Whether a Relu is merged into it.
        relu6: Whether a Relu6 is merged into it.
        int8: Whether it is stored as a layer of integers: with int8 parameters and a grid for
            both tensors.
        input: Grid of what it takes, ``None`` without.
        output: Grid of what it returns, ``None`` without.
    """

    name: str
    op_type: str
    outputs: int
    weight: MnnWeight | None
    tensors: tuple[str, str] = ("", "")
    relu: bool = False
    relu6: bool = False
    int8: bool = False
    input: TensorGrid | None = None
    output: TensorGrid | None = None


@attrs.frozen(eq=False)
class MnnModel:
    """What an .mnn file holds.

    Attributes:
        layers: Its layers with a weight, by name.
        tensors: Names of its tensors, but for `misnamed`.
        misnamed: Name of a tensor that doesn't hold what the op of that name returns: name of the
            op that returns what it holds, in another shape perhaps. See `misnamed_tensors`.
    """

    layers: Mapping[str, MnnLayer]
    tensors: tuple[str, ...]
    misnamed: Mapping[str, str | None]


def read_mnn_layers(path: str | os.PathLike[str]) -> dict[str, MnnLayer]:
    """The layers with a weight in the .mnn file at `path`, by name.

    Raises:
        ModelFileError: The file is missing, or no .mnn file.
    """
    return dict(read_mnn_model(path).layers)


def read_mnn_model(path: str | os.PathLike[str]) -> MnnModel:
    """The layers and the tensors of the .mnn file at `path`.

    Raises:
        ModelFileError: The file is missing, or no .mnn file.
    """
    data = read_bytes(path, "mnn_file")
    try:
        net = FlatTable.root(data)
        slots = (NET_TENSORS, NET_OPS, NET_DESCRIPTIONS)
        graphs = [_Graph(net, *slots)]
        slots = (SUBGRAPH_TENSORS, SUBGRAPH_OPS, SUBGRAPH_DESCRIPTIONS)
        graphs += [_Graph(subgraph, *slots) for subgraph in net.tables(NET_SUBGRAPHS)]
        layers = [layer for graph in graphs for layer in graph.layers()]
        misnamed = {name: op for graph in graphs for name, op in graph.misnamed().items()}
        tensors = (name for graph in graphs for name in graph.tensors if name not in misnamed)
        return MnnModel({layer.name: layer for layer in layers}, tuple(tensors), misnamed)
    except (struct.error, IndexError, ValueError, TypeError) as error:
        reason = str(error)[:300]
        raise ModelFileError(f"mnn_file ({path}) is not an MNN model: {reason}") from error


class _Graph:
    """The main graph of a file, or a subgraph."""

    def __init__(self, table: FlatTable, tensors: int, ops: int, descriptions: int) -> None:
        self.tensors = tuple(table.texts(tensors))
        self._ops = list(table.tables(ops))
        self._grids: dict[int, TensorGrid] = {}
        for description in table.tables(descriptions):
            grid = description.table(DESCRIPTION_GRID)
            if grid is not None:
                self._grids[description.integer(DESCRIPTION_INDEX)] = TensorGrid(
                    grid.number(GRID_SCALE),
                    grid.number(GRID_ZERO),
                    grid.number(GRID_LOWEST, -128.0),
                    grid.number(GRID_HIGHEST, 127.0),
                )

    def misnamed(self) -> dict[str, str | None]:
        return misnamed_tensors([self._named(op) for op in self._ops])

    def _named(self, op: FlatTable) -> NamedOp:
        taken, given = (op.numbers(slot, np.int32).tolist() for slot in (OP_INPUTS, OP_OUTPUTS))
        source = self.tensors[taken[0]] if taken else None
        outputs = tuple(self.tensors[index] for index in given)
        layer = self._layer(op) if op.integer(OP_TYPE) in OP_TYPES else None
        merged = layer is not None and (layer.relu or layer.relu6)
        return NamedOp(op.text(OP_NAME), source, outputs, merged)

    def layers(self) -> list[MnnLayer]:
        return [self._layer(op) for op in self._ops if op.integer(OP_TYPE) in OP_TYPES]

    def _layer(self, op: FlatTable) -> MnnLayer:
        main = op.table(OP_MAIN)
        name, op_type = op.text(OP_NAME), OP_TYPES[op.integer(OP_TYPE)]
        if main is None or op.byte(OP_MAIN_TYPE) != CONVOLUTION_2D:
            raise ModelFileError(f'layer "{name}" ({op_type}) of the MNN model has no parameters')
        common = main.table(CONVOLUTION_COMMON)
        quantized = main.table(CONVOLUTION_QUANTIZED)
        indices = [int(op.numbers(slot, np.int32)[0]) for slot in (OP_INPUTS, OP_OUTPUTS)]
        source, result = (self._grids.get(index) for index in indices)
        stored_as_int8 = main.table(CONVOLUTION_INT8) is not None
        return MnnLayer(
            name,
            op_type,
            0 if common is None else common.integer(COMMON_OUTPUTS),
            None if quantized is None else read_weight(quantized),
            (self.tensors[indices[0]], self.tensors[indices[1]]),
            common is not None and bool(common.byte(COMMON_RELU)),
            common is not None and bool(common.byte(COMMON_RELU6)),
            stored_as_int8 and None not in (source, result),
            source,
            result,
        )
