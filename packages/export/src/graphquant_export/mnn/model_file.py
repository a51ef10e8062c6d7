"""The layers with a weight in an .mnn file."""

from __future__ import annotations

import os
import struct

import attrs
import numpy as np

from graphquant_core.exceptions import ModelFileError
from graphquant_core.files import read_bytes
from graphquant_export.mnn.codes import SMALLEST_SCALE, MnnWeight
from graphquant_export.mnn.flat_tables import FlatTable
from graphquant_export.mnn.stored_codes import decode_codes

# Places of the fields in MNN's schema (MNN.fbs, CaffeOp.fbs), which only ever grows at its end.
_NET_OPS, _NET_SUBGRAPHS, _SUBGRAPH_OPS = 3, 10, 4
_OP_MAIN_TYPE, _OP_MAIN, _OP_NAME, _OP_TYPE = 1, 2, 3, 5
_CONVOLUTION_COMMON, _CONVOLUTION_WEIGHT, _CONVOLUTION_QUANTIZED = 0, 1, 3
_COMMON_OUTPUTS = 10
_QUANTIZED_BUFFER, _QUANTIZED_ALPHA, _QUANTIZED_TYPE = 0, 1, 2
_QUANTIZED_BITS, _QUANTIZED_MINIMUM, _QUANTIZED_ROWS, _QUANTIZED_WIDE = 7, 8, 9, 11
_CONVOLUTION_2D = 9  # in the union OpParameter
_OP_TYPES = {
    12: "Convolution",
    13: "ConvolutionDepthwise",
    17: "Deconvolution",
    18: "DeconvolutionDepthwise",
}


@attrs.frozen(eq=False)
class MnnLayer:
    """A layer of an .mnn file.

    Attributes:
        name: Name of the op in MNN.
        op_type: ``Convolution``, ``ConvolutionDepthwise`` or ``Deconvolution``.
        outputs: Number of output channels.
        weight: Its codes and scales; ``None`` when the weight is float.
    """

    name: str
    op_type: str
    outputs: int
    weight: MnnWeight | None


def read_mnn_layers(path: str | os.PathLike[str]) -> dict[str, MnnLayer]:
    """The layers with a weight in the .mnn file at `path`, by name.

    Raises:
        ModelFileError: The file is missing, or no .mnn file.
    """
    data = read_bytes(path, "mnn_file")
    try:
        net = FlatTable.root(data)
        ops = list(net.tables(_NET_OPS))
        for subgraph in net.tables(_NET_SUBGRAPHS):
            ops.extend(subgraph.tables(_SUBGRAPH_OPS))
        layers = [_layer(op) for op in ops if op.integer(_OP_TYPE) in _OP_TYPES]
    except (struct.error, IndexError, ValueError, TypeError) as error:
        raise ModelFileError(f"mnn_file ({path}) is not an MNN model: {error}") from error
    return {layer.name: layer for layer in layers}


def _layer(op: FlatTable) -> MnnLayer:
    main = op.table(_OP_MAIN)
    name, op_type = op.text(_OP_NAME), _OP_TYPES[op.integer(_OP_TYPE)]
    if main is None or op.byte(_OP_MAIN_TYPE) != _CONVOLUTION_2D:
        raise ModelFileError(f'layer "{name}" ({op_type}) of the MNN model has no parameters')
    common = main.table(_CONVOLUTION_COMMON)
    outputs = 0 if common is None else common.integer(_COMMON_OUTPUTS)
    quantized = main.table(_CONVOLUTION_QUANTIZED)
    return MnnLayer(name, op_type, outputs, None if quantized is None else _weight(quantized))


def _weight(quantized: FlatTable) -> MnnWeight:
    alpha = quantized.numbers(_QUANTIZED_ALPHA, np.float32).astype(np.float32)
    bits = quantized.integer(_QUANTIZED_BITS)
    asymmetric = quantized.integer(_QUANTIZED_ROWS) > 0
    minimum = alpha[0::2] if asymmetric else None
    scale = alpha[1::2] if asymmetric else alpha
    zero = np.zeros(len(scale), np.int8)
    if minimum is not None:
        live = scale > SMALLEST_SCALE
        steps = np.round(-minimum / np.where(live, scale, 1))
        lowest = quantized.integer(_QUANTIZED_MINIMUM)
        zero = (np.where(live, steps, 0) + lowest).astype(np.int8)
    buffer = quantized.numbers(_QUANTIZED_BUFFER, np.uint8).astype(np.uint8)
    codes = decode_codes(
        buffer,
        quantized.integer(_QUANTIZED_TYPE),
        bool(quantized.byte(_QUANTIZED_WIDE)),
        zero,
        len(buffer) // max(len(scale), 1),
    )
    return MnnWeight(codes, scale, minimum, bits)
