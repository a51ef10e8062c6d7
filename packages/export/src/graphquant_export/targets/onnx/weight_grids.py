"""The grid of a weight that MNN would store, as DequantizeLinear has it."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import RangeError
from graphquant_core.layer import Layer
from graphquant_core.weight_record import WeightGrid
from graphquant_export.quantized.weight_codes import mnn_quantize
from graphquant_export.quantized.weight_groups import Grouping, mnn_grouping
from graphquant_export.targets.onnx.constants import StoredConstant

TOLERANCE = 1e-3
"""A zero point further than this from an integer is none."""


def weight_constant(
    layer: Layer, wanted: WeightGrid, name: str, weight: npt.NDArray[np.float32]
) -> StoredConstant | None:
    """The codes of `weight`, which lies on its grid, with scale, zero point or offset.

    ``None`` for a transposed convolution whose weight times the factors of the batch norm behind
    it lies on the grid, but not the weight itself: MNN's groups cross its channels.

    Args:
        layer: The layer.
        wanted: Bits and mode of its grid.
        name: Name that its Const has.
        weight: Its weight, as TensorFlow has it.

    Raises:
        RangeError: A weight is not on the grid; names the layer.
    """
    grouping = mnn_grouping(layer, wanted.block_size)
    rows = grouping.rows(weight)
    grid = mnn_quantize(rows, wanted.bits, wanted.asymmetric)
    off = grid.off_grid(rows)
    if off.any() and layer.op_type == "Conv2DBackpropInput":
        return None
    if off.any():
        raise RangeError(
            f'layer "{layer.name}": {np.count_nonzero(off)} of {rows.size} weights are not on a '
            f"grid of {grid.bits} bits; strip_wq_ops() before freezing puts them there"
        )
    live = grid.scale > 0
    scale = np.where(live, grid.scale, np.float32(1))
    constant = StoredConstant(
        layer=layer.name,
        role="weight",
        name=name,
        codes=_in_tensorflow(grouping, grid.codes).astype(np.int8),
        scale=scale,
        groups=_in_tensorflow(
            grouping, np.broadcast_to(np.arange(grouping.count)[:, None], rows.shape)
        ).astype(np.int64),
        bits=4 if wanted.bits <= 4 else 8,
    )
    if grid.minimum is None:
        return constant
    # minimum + (code + half) * scale = (code - zero_point) * scale
    half = 1 << (grid.bits - 1)
    zero_point = -half - grid.minimum.astype(np.float64) / scale
    whole = np.rint(zero_point)
    exact = np.abs(zero_point - whole) <= TOLERANCE
    if (exact & (whole >= -half) & (whole < half)).all():
        return attrs.evolve(constant, zero_point=whole.astype(np.int8))
    offset = grid.minimum + np.float32(half) * scale
    return attrs.evolve(constant, offset=offset.astype(np.float32))


def _in_tensorflow(grouping: Grouping, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    stored = rows.reshape([grouping.weight_shape[axis] for axis in grouping.order])
    return np.ascontiguousarray(stored.transpose(np.argsort(grouping.order)))
