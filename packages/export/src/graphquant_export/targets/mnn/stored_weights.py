"""The quantised weights of an .mnn file: read, and replaced by others in place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from graphquant_core.exceptions import ModelFileError
from graphquant_core.files import read_bytes, write_whole
from graphquant_core.finite import check_finite
from graphquant_core.weight_record import MAX_BITS, MIN_BITS
from graphquant_export.quantized.weight_codes import SMALLEST_SCALE, MnnWeight
from graphquant_export.targets.mnn.file_fields import (
    CONVOLUTION_QUANTIZED,
    NET_OPS,
    NET_SUBGRAPHS,
    OP_MAIN,
    OP_NAME,
    OP_TYPE,
    OP_TYPES,
    QUANTIZED_ALPHA,
    QUANTIZED_BITS,
    QUANTIZED_BUFFER,
    QUANTIZED_MINIMUM,
    QUANTIZED_ROWS,
    QUANTIZED_TYPE,
    QUANTIZED_WIDE,
    SUBGRAPH_OPS,
)
from graphquant_export.targets.mnn.flat_tables import FlatTable
from graphquant_export.targets.mnn.stored_codes import decode_codes, encode_codes

# The sparse form stores a zero in no byte: weights that are nearly all zero may still be as many.
_CODES_OF_A_BYTE = 1024


def put_weights(path: str | os.PathLike[str], weights: Mapping[str, MnnWeight]) -> None:
    """Gives layers of the .mnn file at `path` other codes and scales; the file keeps its size.

    The converter derives the scale of a layer that computes with floats from its largest weights,
    whatever it is told.

    Args:
        path: The file, with int8 weights in those layers.
        weights: Symmetric, of 8 bits, by the name of the layer; those that the file lacks, or has
            as floats, are left out.

    Raises:
        ModelFileError: A layer has another number of weights, or another form of codes.
        FileWriteError: The file can't be written.
    """
    data = read_bytes(path, "path")
    edited = bytearray(data)
    for name, quantized in _quantized_layers(FlatTable.root(data)):
        if name in weights:
            weight = weights[name]
            codes = encode_codes(weight.codes, bool(quantized.byte(QUANTIZED_WIDE)))
            _replace(edited, name, quantized.place(QUANTIZED_BUFFER, np.uint8), codes)
            scale = weight.scale.astype("<f4").tobytes()
            _replace(edited, name, quantized.place(QUANTIZED_ALPHA, np.float32), scale)
    write_whole(Path(path), bytes(edited))


def _quantized_layers(net: FlatTable) -> Iterator[tuple[str, FlatTable]]:
    """(name, IDSTQuan) of every layer with a quantised weight."""
    ops = [
        net.tables(NET_OPS),
        *(graph.tables(SUBGRAPH_OPS) for graph in net.tables(NET_SUBGRAPHS)),
    ]
    for op in (op for part in ops for op in part if op.integer(OP_TYPE) in OP_TYPES):
        main = op.table(OP_MAIN)
        quantized = None if main is None else main.table(CONVOLUTION_QUANTIZED)
        if quantized is not None:
            yield op.text(OP_NAME), quantized


def _replace(data: bytearray, name: str, place: slice, content: bytes) -> None:
    if place.stop - place.start != len(content):
        raise ModelFileError(
            f'layer "{name}" of the MNN model has {place.stop - place.start} bytes of codes or '
            f"scales instead of {len(content)}"
        )
    data[place] = content


def read_weight(quantized: FlatTable) -> MnnWeight:
    """What `quantized`, the IDSTQuan of a layer, holds.

    Raises:
        ModelFileError, NonFiniteError, ValueError, struct.error, IndexError: It is broken.
    """
    alpha = quantized.numbers(QUANTIZED_ALPHA, np.float32).astype(np.float32)
    check_finite(alpha, "alpha")
    bits = quantized.integer(QUANTIZED_BITS)
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"bits ({bits}) must be from {MIN_BITS} to {MAX_BITS}")
    asymmetric = quantized.integer(QUANTIZED_ROWS) > 0
    minimum = alpha[0::2] if asymmetric else None
    scale = alpha[1::2] if asymmetric else alpha
    zero = np.zeros(len(scale), np.int8)
    half = 1 << (bits - 1)
    if minimum is not None:
        live = scale > SMALLEST_SCALE
        steps = np.where(live, np.round(-minimum / np.where(live, scale, 1)), 0)
        lowest = quantized.integer(QUANTIZED_MINIMUM)
        zero = np.clip(steps + lowest, -half, half - 1).astype(np.int8)
    buffer = quantized.numbers(QUANTIZED_BUFFER, np.uint8).astype(np.uint8)
    codes = decode_codes(
        buffer,
        quantized.integer(QUANTIZED_TYPE),
        bool(quantized.byte(QUANTIZED_WIDE)),
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
