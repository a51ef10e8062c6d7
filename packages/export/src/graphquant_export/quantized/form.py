"""The contract of a form: how one kind of graph writes what a quantised layer consists of."""

from __future__ import annotations

from typing import Protocol

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_export.quantized.integers import Float32Array
from graphquant_export.quantized.layer import QuantizedLayer


class Form(Protocol):
    """Writes the parts of quantised layers into a graph; each method adds nodes to it.

    Names are in the scope that the layer stands in, made unique as TensorFlow does, and those of
    the parts are the same in every form: ``act_quant/AscendQuant`` and so on, as AMCT calls them.
    """

    def quantize(
        self, editor: GraphDefEditor, layer: QuantizedLayer, x: str, shape: tf.TensorShape
    ) -> str:
        """Name of the node that puts the tensor `x`, of `shape`, on the grid of the activation."""
        ...

    def weight(self, editor: GraphDefEditor, layer: QuantizedLayer) -> str:
        """Name of the node with the weight, for a layer that has one."""
        ...

    def bias(self, editor: GraphDefEditor, layer: QuantizedLayer, sums: str) -> tuple[str, str]:
        """(name of the node with the bias, name of its sum with `sums`)."""
        ...

    def dequantize(
        self,
        editor: GraphDefEditor,
        layer: QuantizedLayer,
        sums: str,
        scale: Float32Array,
        shape: tf.TensorShape,
    ) -> str:
        """Name of the node with the float values of `sums`, of `shape`, whose step is `scale`.

        Of a group, `layer` is its first member, and `scale` has one number for each channel.
        """
        ...
