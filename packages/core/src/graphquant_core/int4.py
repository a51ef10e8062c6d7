"""Codes of 4 bits, two a byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def pack_int4(codes: npt.NDArray[Any]) -> bytes:
    """The low 4 bits of each of `codes` in row-major order; of two, the first in the low bits.

    Args:
        codes: Integers from -8 to 7, of any shape; an odd number of them is padded with 0.

    Source: the layouts of INT4 in ONNX's TensorProto and in LiteRT's schema, which are the same.
    """
    flat = codes.reshape(-1).astype(np.uint8) & 0xF
    padded = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    return (padded[::2] | padded[1::2] << 4).astype(np.uint8).tobytes()
