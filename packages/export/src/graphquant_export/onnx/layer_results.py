"""Which tensor of an ONNX file is the result of a layer, and how it lies in memory."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from graphquant_export.onnx.model_file import ModelView

CHANNELS_SECOND = frozenset({"AveragePool", "Conv", "ConvTranspose"})
"""Ops whose result has its channels second in ONNX, wherever TensorFlow has them."""


@attrs.frozen
class LayerResult:
    """A tensor of the file.

    Attributes:
        tensor: Its name.
        axes: Where each of its axes is in TensorFlow's layout; ``None`` when that is its own.
    """

    tensor: str
    axes: tuple[int, ...] | None

    def in_tensorflow(self, value: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`value` in TensorFlow's layout."""
        return value if self.axes is None else value.transpose(np.argsort(self.axes))


def layer_result(
    view: ModelView, node: onnx.NodeProto, layer: str, rank: int | None, channels_last: bool
) -> LayerResult:
    """The sums of `node` with the layer's bias, which is one of its inputs or an Add behind it.

    Args:
        view: The file.
        node: Node of the layer.
        layer: Name of the layer.
        rank: Rank of its result.
        channels_last: Whether TensorFlow has the channels of the result last.
    """
    axes: list[int] | None = None
    second = node.op_type in CHANNELS_SECOND or _concatenates_second(node)
    if channels_last and rank and second:
        axes = [0, rank - 1, *range(1, rank - 1)]
    result = LayerResult(node.output[0], None if axes is None else tuple(axes))
    bias = f"{layer}/bias"
    if bias not in view.stored or _takes(view, node, bias):
        return result
    tensor = node.output[0]
    while True:
        takers = view.takers(tensor)
        if len(takers) != 1:
            return result
        (taker,) = takers
        tensor = taker.output[0]
        if taker.op_type == "Transpose" and axes is not None:
            axes = [axes[axis] for axis in _permutation(taker)]
        if _takes(view, taker, bias):
            return LayerResult(tensor, None if axes is None else tuple(axes))


def _concatenates_second(node: onnx.NodeProto) -> bool:
    axes = [entry.i for entry in node.attribute if entry.name == "axis"]
    return node.op_type == "Concat" and axes == [1]


def _takes(view: ModelView, node: onnx.NodeProto, stored: str) -> bool:
    """Whether `node` takes `stored` through a DequantizeLinear."""
    makers = (view.maker(name) for name in node.input)
    return any(maker is not None and maker.input[0] == stored for maker in makers if maker)


def _permutation(node: onnx.NodeProto) -> Sequence[int]:
    (attribute,) = (entry for entry in node.attribute if entry.name == "perm")
    return list(helper.get_attribute_value(attribute))
