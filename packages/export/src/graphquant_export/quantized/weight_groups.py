"""How MNN splits a weight into the groups that share one scale.

MNN stores a convolution as [out, in, kh, kw], a depthwise one as [C, kh, kw] and a MatMul as
[out, in], and cuts that into as many equal runs as there are output channels. A run is an output
channel, except for a transposed convolution: MNN stores it as [in, out, kh, kw] and cuts it the
same way, so that a group there is a stretch of the flat weight that crosses channels.
"""

from __future__ import annotations

import math
from typing import TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.layer import Layer
from graphquant_core.listing import choices

Scalar = TypeVar("Scalar", bound=np.generic)

SMALLEST_BLOCK = 16
"""MNN ignores a block size below this."""

_MNN_ORDER = {
    "Conv2D": (3, 2, 0, 1),
    "DepthwiseConv2dNative": (2, 3, 0, 1),
    "Conv2DBackpropInput": (3, 2, 0, 1),
    "MatMul": (1, 0),
}


@attrs.frozen
class Grouping:
    """The groups of one weight.

    Attributes:
        weight_shape: Shape of the weight in TensorFlow.
        order: Axes of the weight in the order in which MNN stores them.
        count: Number of groups.
        axes: Axes of the weight whose row-major product is the groups; ``()`` where a group
            doesn't follow axes.
        crosses_channels: Whether a group has weights of several output channels, so that what MNN
            multiplies a channel by moves its grid.
    """

    weight_shape: tuple[int, ...]
    order: tuple[int, ...]
    count: int
    axes: tuple[int, ...] = ()
    crosses_channels: bool = False

    @property
    def size(self) -> int:
        """Weights in a group."""
        return math.prod(self.weight_shape) // self.count

    def rows(self, weight: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """`weight` as ``[count, size]``: one group a row, in MNN's order."""
        return np.ascontiguousarray(weight.transpose(self.order)).reshape(self.count, self.size)

    def weight(self, rows: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """The weight whose groups are `rows`: the inverse of `rows`."""
        stored = rows.reshape([self.weight_shape[axis] for axis in self.order])
        return np.ascontiguousarray(stored.transpose(np.argsort(self.order)))


def mnn_grouping(layer: Layer, block_size: int = 0) -> Grouping:
    """The groups that MNN forms of the weight of `layer`.

    Args:
        layer: A Conv2D, DepthwiseConv2dNative with multiplier 1, Conv2DBackpropInput, or MatMul
            with ``weight_channel_axes`` (1,), or (0,) for a transposed weight.
        block_size: Input channels of a group, as ``--weightQuantBlock`` gives them; MNN follows
            it where it is at least 16 and divides the input channels.

    Raises:
        UnsupportedLayerError: MNN doesn't quantise such a layer.
    """
    shape, order = layer.weight_shape, _MNN_ORDER.get(layer.op_type)
    if shape is None or order is None:
        raise UnsupportedLayerError(
            f'layer "{layer.name}" ({layer.op_type}) is none that MNN quantises '
            f"({choices(_MNN_ORDER)})"
        )
    if layer.op_type == "MatMul" and layer.weight_channel_axes == (0,):
        order = (0, 1)
    outputs = layer.output_channels or 1
    blocks = _blocks(layer, block_size)
    crosses_channels = layer.op_type == "Conv2DBackpropInput"
    axes = () if blocks > 1 or crosses_channels else layer.weight_channel_axes
    return Grouping(shape, order, outputs * blocks, axes, crosses_channels)


def _blocks(layer: Layer, block_size: int) -> int:
    """Groups that the run of an output channel is cut into."""
    inputs = math.prod((layer.weight_shape or ())[-2:]) // (layer.output_channels or 1)
    if block_size < SMALLEST_BLOCK or inputs % block_size:
        return 1
    return inputs // block_size
