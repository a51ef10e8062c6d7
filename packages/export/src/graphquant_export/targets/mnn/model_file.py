"""The layers with a weight in an .mnn file."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

import attrs
import numpy as np

from graphquant_core.exceptions import ModelFileError
from graphquant_core.files import read_bytes
from graphquant_core.finite import check_finite
from graphquant_core.weight_record import MAX_BITS, MIN_BITS
from graphquant_export.quantized.weight_codes import SMALLEST_SCALE, MnnWeight
from graphquant_export.targets.mnn.flat_tables import FlatTable
from graphquant_export.targets.mnn.stored_codes import decode_codes

# Places of the fields in MNN's schema (MNN.fbs, CaffeOp.fbs), which only ever grows at its end.
_NET_DESCRIPTIONS, _NET_OPS, _NET_TENSORS, _NET_SUBGRAPHS = 1, 3, 7, 10
_SUBGRAPH_TENSORS, _SUBGRAPH_OPS, _SUBGRAPH_DESCRIPTIONS = 3, 4, 5
_DESCRIPTION_INDEX, _DESCRIPTION_GRID = 1, 4
_GRID_SCALE, _GRID_ZERO, _GRID_LOWEST, _GRID_HIGHEST = 0, 1, 2, 3
_OP_INPUTS, _OP_MAIN_TYPE, _OP_MAIN, _OP_NAME, _OP_OUTPUTS, _OP_TYPE = 0, 1, 2, 3, 4, 5
_CONVOLUTION_COMMON, _CONVOLUTION_QUANTIZED, _CONVOLUTION_INT8 = 0, 3, 4
_COMMON_OUTPUTS, _COMMON_RELU6 = 10, 13
_QUANTIZED_BUFFER, _QUANTIZED_ALPHA, _QUANTIZED_TYPE = 0, 1, 2
_QUANTIZED_BITS, _QUANTIZED_MINIMUM, _QUANTIZED_ROWS, _QUANTIZED_WIDE = 7, 8, 9, 11
# The sparse form stores a zero in no byte: weights that are nearly all zero may still be as many.
_CODES_OF_A_BYTE = 1024
_CONVOLUTION_2D = 9  # in the union OpParameter
_OP_TYPES = {
    12: "Convolution",
    13: "ConvolutionDepthwise",
    17: "Deconvolution",
    18: "DeconvolutionDepthwise",
}


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
    relu6: bool = False
    int8: bool = False
    input: TensorGrid | None = None
    output: TensorGrid | None = None


@attrs.frozen(eq=False)
class MnnModel:
    """What an .mnn file holds.

    Attributes:
        layers: Its layers with a weight, by name.
        tensors: Names of its tensors.
    """

    layers: Mapping[str, MnnLayer]
    tensors: tuple[str, ...]


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
        slots = (_NET_TENSORS, _NET_OPS, _NET_DESCRIPTIONS)
        graphs = [_Graph(net, *slots)]
        slots = (_SUBGRAPH_TENSORS, _SUBGRAPH_OPS, _SUBGRAPH_DESCRIPTIONS)
        graphs += [_Graph(subgraph, *slots) for subgraph in net.tables(_NET_SUBGRAPHS)]
        layers = [layer for graph in graphs for layer in graph.layers()]
        tensors = tuple(name for graph in graphs for name in graph.tensors)
    except (struct.error, IndexError, ValueError, TypeError) as error:
        reason = str(error)[:300]
        raise ModelFileError(f"mnn_file ({path}) is not an MNN model: {reason}") from error
    return MnnModel({layer.name: layer for layer in layers}, tensors)


class _Graph:
    """The main graph of a file, or a subgraph."""

    def __init__(self, table: FlatTable, tensors: int, ops: int, descriptions: int) -> None:
        self.tensors = tuple(table.texts(tensors))
        self._ops = list(table.tables(ops))
        self._grids: dict[int, TensorGrid] = {}
        for description in table.tables(descriptions):
            grid = description.table(_DESCRIPTION_GRID)
            if grid is not None:
                self._grids[description.integer(_DESCRIPTION_INDEX)] = TensorGrid(
                    grid.number(_GRID_SCALE),
                    grid.number(_GRID_ZERO),
                    grid.number(_GRID_LOWEST, -128.0),
                    grid.number(_GRID_HIGHEST, 127.0),
                )

    def layers(self) -> list[MnnLayer]:
        return [self._layer(op) for op in self._ops if op.integer(_OP_TYPE) in _OP_TYPES]

    def _layer(self, op: FlatTable) -> MnnLayer:
        main = op.table(_OP_MAIN)
        name, op_type = op.text(_OP_NAME), _OP_TYPES[op.integer(_OP_TYPE)]
        if main is None or op.byte(_OP_MAIN_TYPE) != _CONVOLUTION_2D:
            raise ModelFileError(f'layer "{name}" ({op_type}) of the MNN model has no parameters')
        common = main.table(_CONVOLUTION_COMMON)
        quantized = main.table(_CONVOLUTION_QUANTIZED)
        indices = [int(op.numbers(slot, np.int32)[0]) for slot in (_OP_INPUTS, _OP_OUTPUTS)]
        source, result = (self._grids.get(index) for index in indices)
        stored_as_int8 = main.table(_CONVOLUTION_INT8) is not None
        return MnnLayer(
            name,
            op_type,
            0 if common is None else common.integer(_COMMON_OUTPUTS),
            None if quantized is None else _weight(quantized),
            (self.tensors[indices[0]], self.tensors[indices[1]]),
            common is not None and bool(common.byte(_COMMON_RELU6)),
            stored_as_int8 and None not in (source, result),
            source,
            result,
        )


def _weight(quantized: FlatTable) -> MnnWeight:
    alpha = quantized.numbers(_QUANTIZED_ALPHA, np.float32).astype(np.float32)
    check_finite(alpha, "alpha")
    bits = quantized.integer(_QUANTIZED_BITS)
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"bits ({bits}) must be from {MIN_BITS} to {MAX_BITS}")
    asymmetric = quantized.integer(_QUANTIZED_ROWS) > 0
    minimum = alpha[0::2] if asymmetric else None
    scale = alpha[1::2] if asymmetric else alpha
    zero = np.zeros(len(scale), np.int8)
    half = 1 << (bits - 1)
    if minimum is not None:
        live = scale > SMALLEST_SCALE
        steps = np.where(live, np.round(-minimum / np.where(live, scale, 1)), 0)
        lowest = quantized.integer(_QUANTIZED_MINIMUM)
        zero = np.clip(steps + lowest, -half, half - 1).astype(np.int8)
    buffer = quantized.numbers(_QUANTIZED_BUFFER, np.uint8).astype(np.uint8)
    codes = decode_codes(
        buffer,
        quantized.integer(_QUANTIZED_TYPE),
        bool(quantized.byte(_QUANTIZED_WIDE)),
        zero,
        len(buffer) // max(len(scale), 1),
        quantized.budget.left * _CODES_OF_A_BYTE,
    )
    quantized.budget.spend(codes.size // _CODES_OF_A_BYTE)
    if len(codes) != len(scale):
        raise ValueError(f"it has {len(codes)} groups of codes and {len(scale)} scales")
    if codes.min(initial=0) < -half or codes.max(initial=0) >= half:
        raise ValueError(f"codes from {codes.min()} to {codes.max()} are no {bits} bits")
    if (scale < 0).any() or (np.abs(alpha) > np.finfo(np.float32).max / 2**10).any():
        raise ValueError(f"scales and minima from {alpha.min():g} to {alpha.max():g} are none")
    return MnnWeight(codes, scale, minimum, bits)
