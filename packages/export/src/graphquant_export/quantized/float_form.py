"""The form that TensorFlow and converters know: fake quantisers, and constants on their grids."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, fake_quantizer
from graphquant_export.quantized.integers import Float32Array
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.quantized.parts import add_bias, channel_vector, free_scope


class FloatForm:
    """Fake quantisers, and weights and biases as codes * scale: nothing to dequantise."""

    def quantize(
        self,
        editor: GraphDefEditor,
        layer: QuantizedLayer,
        x: str,
        shape: tf.TensorShape,  # noqa: ARG002
    ) -> str:
        """FakeQuantWithMinMaxArgs."""
        name = free_scope(editor, layer, "act_quant") + "/AscendQuant"
        factors = layer.factors
        return editor.add(fake_quantizer(name, x, factors.scale_d, factors.offset_d))

    def weight(self, editor: GraphDefEditor, layer: QuantizedLayer) -> str:
        """A Const."""
        name = free_scope(editor, layer, "weight_quant") + "/AscendWeightQuant"
        return editor.add(const_node(name, layer.float_weight()))

    def bias(self, editor: GraphDefEditor, layer: QuantizedLayer, sums: str) -> tuple[str, str]:
        """A Const and its sum."""
        scope = free_scope(editor, layer, "bias_quant")
        values = channel_vector(layer, layer.float_bias())
        bias = editor.add(const_node(f"{scope}/Cast", values))
        return bias, add_bias(editor, layer, scope, sums, bias)

    def dequantize(
        self,
        editor: GraphDefEditor,  # noqa: ARG002
        layer: QuantizedLayer,  # noqa: ARG002
        sums: str,
        scale: Float32Array,  # noqa: ARG002
        shape: tf.TensorShape,  # noqa: ARG002
    ) -> str:
        """`sums`: they are floats already."""
        return sums
