"""The form of exact integers: what every target that sums integers computes, whatever its ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_core.target_rules import TargetRules
from graphquant_export.quantized.exact_sums import IntegerOps, exact_sums
from graphquant_export.quantized.function_builder import FunctionBuilder
from graphquant_export.quantized.integers import Float32Array
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.quantized.parts import add_bias, cast_codes, channel_vector, free_scope

QUANTIZE = "GraphquantQuantize"
DEQUANTIZE = "GraphquantDequantize"


class ExactForm:
    """Quantise and Dequantise around integer sums, weights and biases as integer constants."""

    def quantize(
        self,
        editor: GraphDefEditor,
        layer: QuantizedLayer,
        x: str,
        shape: tf.TensorShape,  # noqa: ARG002
    ) -> str:
        """A QUANTIZE, which multiplies by 1 / scale_d."""
        scope = free_scope(editor, layer, "act_quant")
        factors = layer.factors
        step = np.float32(1) / np.float32(factors.scale_d)
        scale = editor.add(const_node(f"{scope}/scale", step))
        offset = editor.add(const_node(f"{scope}/offset", np.float32(factors.offset_d)))
        return editor.add(node_def(f"{scope}/AscendQuant", QUANTIZE, [x, scale, offset]))

    def weight(self, editor: GraphDefEditor, layer: QuantizedLayer) -> str:
        """A Cast of int8."""
        scope = free_scope(editor, layer, "weight_quant")
        codes = layer.weight_codes
        return cast_codes(editor, f"{scope}/weight", f"{scope}/AscendWeightQuant", codes)

    def bias(self, editor: GraphDefEditor, layer: QuantizedLayer, sums: str) -> tuple[str, str]:
        """A Cast of int32 and its sum."""
        scope = free_scope(editor, layer, "bias_quant")
        codes = layer.bias_codes
        values = channel_vector(layer, codes)
        bias = cast_codes(editor, f"{scope}/bias", f"{scope}/Cast", values)
        return bias, add_bias(editor, layer, scope, sums, bias)

    def dequantize(
        self,
        editor: GraphDefEditor,
        layer: QuantizedLayer,
        sums: str,
        scale: Float32Array,
        shape: tf.TensorShape,  # noqa: ARG002
    ) -> str:
        """A DEQUANTIZE, which multiplies by `scale`."""
        scope = free_scope(editor, layer, "dequant")
        step = editor.add(const_node(f"{scope}/deq_scale", layer.along_channels(scale)))
        return editor.add(node_def(f"{scope}/AscendDequant", DEQUANTIZE, [sums, step]))


def exact_graph(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], rules: TargetRules
) -> tf.compat.v1.GraphDef:
    """A graph of `ExactForm` with its sums in float64, which TensorFlow runs.

    Args:
        graph_def: The graph, without its functions.
        outputs: Names of the ops that are its outputs.
        rules: Those of the target, which say how it breaks ties.

    Raises:
        ModelFileError: It has no quantised layer, or TensorFlow refuses it.
    """
    return exact_sums(graph_def, outputs, _AWAY_OPS if rules.ties_away else EXACT_OPS)


def exact_functions(sums: tf.DType) -> list[FunctionDef]:
    """QUANTIZE and DEQUANTIZE; they aren't inlined, lest factors be merged with those around."""
    return [_quantize(sums, _ties_to_even), _dequantize(sums)]


def _away_functions(sums: tf.DType) -> list[FunctionDef]:
    return [_quantize(sums, _ties_away), _dequantize(sums)]


def _quantize(sums: tf.DType, shifted: Callable[[FunctionBuilder, str], str]) -> FunctionDef:
    """y = clip(shifted(x * scale), -128, 127) - offset, so that 0.0 stays 0."""
    inputs = {"x": tf.float32, "scale": tf.float32, "offset": tf.float32}
    f = FunctionBuilder(QUANTIZE, inputs, sums, {})
    lowest, highest = f.constant("lowest", np.float32(-128)), f.constant("highest", np.float32(127))
    steps = shifted(f, f.binary("scaled", "Mul", "x", "scale", tf.float32))
    above = f.binary("above", "Maximum", steps, lowest, tf.float32)
    codes = f.binary("codes", "Minimum", above, highest, tf.float32)
    centred = f.binary("centred", "Sub", codes, "offset", tf.float32)
    return f.build(f.cast("y", centred, tf.float32, sums), inline=False)


def _ties_to_even(f: FunctionBuilder, scaled: str) -> str:
    """round(scaled) + offset."""
    steps = f.node("steps", "Round", [scaled], "y", T=tf.float32)
    return f.binary("shifted", "Add", steps, "offset", tf.float32)


def _ties_away(f: FunctionBuilder, scaled: str) -> str:
    """v = scaled + offset; sign(v) * floor(abs(v) + 0.5)."""
    value = f.binary("shifted", "Add", scaled, "offset", tf.float32)
    size = f.node("size", "Abs", [value], "y", T=tf.float32)
    half = f.constant("half", np.float32(0.5))
    further = f.binary("further", "Add", size, half, tf.float32)
    whole = f.node("whole", "Floor", [further], "y", T=tf.float32)
    return f.binary(
        "steps", "Mul", f.node("sign", "Sign", [value], "y", T=tf.float32), whole, tf.float32
    )


def _dequantize(sums: tf.DType) -> FunctionDef:
    """y = x * scale, float32."""
    f = FunctionBuilder(DEQUANTIZE, {"x": sums, "scale": sums}, tf.float32, {})
    scaled = f.binary("scaled", "Mul", "x", "scale", sums)
    return f.build(f.cast("y", scaled, sums, tf.float32), inline=False)


_SOURCES, _SINKS = frozenset({QUANTIZE}), frozenset({DEQUANTIZE})
EXACT_OPS = IntegerOps(_SOURCES, _SINKS, exact_functions)
_AWAY_OPS = IntegerOps(_SOURCES, _SINKS, _away_functions)
