"""The nodes around the op of a deployed layer: its weight, its bias, its dequantisation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node
from graphquant_export.targets.ascend import integers, nodes
from graphquant_export.targets.ascend.average_pooling import float_fallback, height_and_width
from graphquant_export.targets.ascend.layer_integers import LayerIntegers
from graphquant_export.targets.ascend.scopes import free_scope
from graphquant_export.targets.ascend.sites import Site


class LayerNodes:
    """Adds the nodes of the layer at `site` to `editor`.

    Attributes:
        weight_quant: Name of the AscendWeightQuant; ``None`` without weight.
        bias: Name of the Cast of the int32 bias to what is added; ``None`` without bias.
        advice: Sentences about what Ascend's compiler makes of the layer.

    Raises:
        UnsupportedLayerError: The channels stand where Ascend's ops can't have them.
    """

    def __init__(self, editor: GraphDefEditor, site: Site, numbers: LayerIntegers) -> None:
        self._editor = editor
        self._site = site
        self._numbers = numbers
        self._data_format = _data_format(site)
        self.weight_quant: str | None = None
        self.bias: str | None = None
        self.advice: list[str] = []

    def sums(self, node: str) -> str:
        """Integer sums with the bias: ``node <- AscendWeightQuant``, ``node -> [BiasAdd]``.

        Args:
            node: Name of the op of the layer.
        """
        port = self._site.layer.weight_port
        if self._numbers.weight is not None and port is not None:
            self.weight_quant = self._add_weight(self._numbers.weight)
            self._editor.set_input(node, port, self.weight_quant)
        if self._site.op.type == "Conv2DBackpropInput":
            self._fix_input_sizes(node)
        if self._numbers.bias is None:
            return node
        return self._add_bias(node, self._numbers.bias)

    def dequantize(self, x: str, scale: integers.Float32Array, shape: tf.TensorShape) -> str:
        """Name of the AscendDequant that multiplies the sums `x`, of `shape`, by `scale`."""
        scope = free_scope(self._editor, self._site, "dequant")
        bits = self._editor.add(const_node(f"{scope}/deq_scale", integers.hardware_scale(scale)))
        name = f"{scope}/AscendDequant"
        return self._editor.add(
            nodes.ascend_dequant(name, x, bits, self._kernel_size(), self._data_format, shape)
        )

    def _add_weight(self, codes: npt.NDArray[np.int8]) -> str:
        scope = free_scope(self._editor, self._site, "weight_quant")
        weight = self._editor.add(const_node(f"{scope}/weight", codes))
        offset = self._editor.add(const_node(f"{scope}/offset", nodes.zero_offset()))
        return self._editor.add(
            nodes.ascend_weight_quant(f"{scope}/AscendWeightQuant", weight, offset, codes.shape)
        )

    def _add_bias(self, x: str, codes: npt.NDArray[np.int32]) -> str:
        scope = free_scope(self._editor, self._site, "bias_quant")
        bias = self._editor.add(const_node(f"{scope}/bias", codes))
        self.bias = self._editor.add(nodes.int_to_float(f"{scope}/Cast", bias))
        return self._editor.add(nodes.bias_add(f"{scope}/BiasAdd", x, self.bias, self._data_format))

    def _fix_input_sizes(self, node: str) -> None:
        sizes = self._site.op.inputs[0]
        if sizes.op.type == "Const":
            return
        shape = self._site.op.outputs[0].shape
        if not shape.is_fully_defined():
            self.advice.append(
                "its input_sizes are not constant, which Ascend's compiler wants: give the "
                "placeholders of the model a static shape, batch included"
            )
            return
        values = np.array(shape.as_list(), sizes.dtype.as_numpy_dtype)
        name = free_scope(self._editor, self._site, "input_sizes")
        self._editor.set_input(node, 0, self._editor.add(const_node(name, values)))

    def _kernel_size(self) -> list[int]:
        """``[kh, kw]`` of an average pooling, ``[1, 1]`` for every other layer."""
        op = self._site.op
        if op.type != "AvgPool":
            return [1, 1]
        reason = float_fallback(op)
        if reason is not None:
            self.advice.append(
                f"Ascend's compiler is known to compute it in float, because {reason}"
            )
        return list(height_and_width(op, "ksize"))


def _data_format(site: Site) -> str:
    """``"NHWC"`` when the channels are the last axis, ``"NCHW"`` when they are the second."""
    rank = site.op.outputs[0].shape.rank
    axis = site.layer.output_channel_axis
    if rank is None:
        return "NCHW" if site.layer.data_format.startswith("NC") else "NHWC"
    if axis % rank == rank - 1:
        return "NHWC"
    if axis % rank == 1:
        return "NCHW"
    raise UnsupportedLayerError(
        f'layer "{site.layer.name}" ({site.layer.op_type}) has its channels on axis {axis} of '
        f"{rank}; Ascend's ops have them on axis 1 or on the last one"
    )
