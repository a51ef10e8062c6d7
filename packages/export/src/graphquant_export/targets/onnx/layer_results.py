"""Which tensor of an ONNX file is the result of a layer, and how it lies in memory."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from graphquant_export.targets.onnx.model_file import ModelView
from graphquant_export.targets.onnx.planned import PlannedLayer

CHANNELS_SECOND = frozenset({"AveragePool", "Conv", "ConvTranspose"})
"""Ops whose result has its channels second in ONNX, wherever TensorFlow has them."""


@attrs.frozen
class LayerResult:
    """A tensor of the file.

    Attributes:
        tensor: Its name.
        node: Name of the node of the TensorFlow graph with the same value.
        axes: Where each of its axes is in TensorFlow's layout; ``None`` when that is its own.
        maker: Name of the file's node that sums.
        direct: Whether that node gives it, and no bias is added afterwards.
    """

    tensor: str
    node: str
    axes: tuple[int, ...] | None
    maker: str
    direct: bool = True

    def in_tensorflow(self, value: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`value` in TensorFlow's layout."""
        return value if self.axes is None else value.transpose(np.argsort(self.axes))


def layer_result(view: ModelView, node: onnx.NodeProto, layer: PlannedLayer) -> LayerResult:
    """The sums of `node` with the layer's bias, which is one of its inputs or an Add behind it.

    Args:
        view: The file.
        node: Node of the layer, or of its group.
        layer: The layer.
    """
    rank = (layer.result if layer.grouped else layer.op).outputs[0].shape.rank
    axes: list[int] | None = None
    second = node.op_type in CHANNELS_SECOND or _concatenates_second(node)
    if layer.channels_last and rank and second:
        axes = [0, rank - 1, *range(1, rank - 1)]
    has_bias = len(node.input) > 2 or layer.grouped
    own = layer.result if has_bias else layer.op
    layout = None if axes is None else tuple(axes)
    result = LayerResult(node.output[0], own.name, layout, node.name)
    tensor = node.output[0]
    while not has_bias:
        takers = view.takers(tensor)
        if len(takers) != 1:
            break
        (taker,) = takers
        tensor = taker.output[0]
        if taker.op_type == "Transpose" and axes is not None:
            axes = [axes[axis] for axis in _permutation(taker)]
        has_bias = _takes(view, taker, f"{layer.name}/bias")
        if has_bias:
            layout = None if axes is None else tuple(axes)
            result = LayerResult(tensor, layer.result.name, layout, node.name, direct=False)
    return result


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
