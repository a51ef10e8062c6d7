"""Quantised layers in the ops of Ascend's TensorFlow adapter."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node
from graphquant_export.quantized import integers
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.quantized.parts import add_bias, cast_codes, free_scope
from graphquant_export.targets.ascend import nodes
from graphquant_export.targets.ascend.average_pooling import height_and_width


class AscendForm:
    """AscendQuant, AscendWeightQuant and AscendDequant, with the attributes that ATC reads."""

    def quantize(
        self, editor: GraphDefEditor, layer: QuantizedLayer, x: str, shape: tf.TensorShape
    ) -> str:
        """An AscendQuant."""
        name = free_scope(editor, layer, "act_quant") + "/AscendQuant"
        factors = layer.factors
        return editor.add(nodes.ascend_quant(name, x, factors.scale_d, factors.offset_d, shape))

    def weight(self, editor: GraphDefEditor, layer: QuantizedLayer) -> str:
        """An AscendWeightQuant of int8 codes."""
        scope = free_scope(editor, layer, "weight_quant")
        codes = layer.weight_codes
        weight = editor.add(const_node(f"{scope}/weight", codes))
        offset = editor.add(const_node(f"{scope}/offset", nodes.zero_offset()))
        return editor.add(
            nodes.ascend_weight_quant(f"{scope}/AscendWeightQuant", weight, offset, codes.shape)
        )

    def bias(self, editor: GraphDefEditor, layer: QuantizedLayer, sums: str) -> tuple[str, str]:
        """A Cast of int32 codes, and its BiasAdd to `sums`."""
        _data_format(layer)
        scope = free_scope(editor, layer, "bias_quant")
        codes = layer.bias_codes
        bias = cast_codes(editor, f"{scope}/bias", f"{scope}/Cast", codes)
        return bias, add_bias(editor, layer, scope, sums, bias)

    def dequantize(
        self,
        editor: GraphDefEditor,
        layer: QuantizedLayer,
        sums: str,
        scale: integers.Float32Array,
        shape: tf.TensorShape,
    ) -> str:
        """An AscendDequant.

        Raises:
            UnsupportedLayerError: The channels stand where Ascend's ops can't have them.
        """
        data_format = _data_format(layer)
        scope = free_scope(editor, layer, "dequant")
        bits = editor.add(const_node(f"{scope}/deq_scale", integers.hardware_scale(scale)))
        name = f"{scope}/AscendDequant"
        return editor.add(
            nodes.ascend_dequant(name, sums, bits, _kernel_size(layer), data_format, shape)
        )


def _kernel_size(layer: QuantizedLayer) -> list[int]:
    """``[kh, kw]`` of an average pooling, ``[1, 1]`` for every other layer."""
    return list(height_and_width(layer.op, "ksize")) if layer.op.type == "AvgPool" else [1, 1]


def _data_format(layer: QuantizedLayer) -> str:
    data_format = layer.data_format
    if data_format is not None:
        return data_format
    raise UnsupportedLayerError(
        f'layer "{layer.name}" ({layer.layer.op_type}) has its channels on axis '
        f"{layer.layer.output_channel_axis} of {layer.op.outputs[0].shape.rank}; Ascend's ops have "
        "them on axis 1 or on the last one"
    )
