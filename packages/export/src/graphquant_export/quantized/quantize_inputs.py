"""Where each quantiser stands: one for each (tensor, scale, offset), before Pad and Split."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_export.quantized.form import Form
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.quantized.model import QuantizedModel

Key = tuple[str, float, int]


def quantize_inputs(editor: GraphDefEditor, model: QuantizedModel, form: Form) -> dict[str, str]:
    """Lets every layer take a quantiser; its name, by the name of the layer.

    It stands before a Pad with zeros and before the Split of a group: 0.0 is on the grid and codes
    are moved like values, so that the order doesn't matter.

    Args:
        editor: The graph to change.
        model: What it is of.
        form: How a quantiser is written.
    """
    inputs = _Inputs(editor, model, form)
    split = {member.name: group for group in model.groups for member in group.members}
    quantizers: dict[str, str] = {}
    for layer in model.layers:
        name, activation = layer.name, layer.place.activation
        group = split.get(name)
        if group is not None:
            quantizers[name] = inputs.quantize(layer, group.value)
            editor.set_input(group.split.name, 1, quantizers[name])
        elif _padded(layer):
            quantizers[name] = inputs.quantize(layer, activation.op.inputs[0])
            inputs.take(layer, inputs.pad(layer, quantizers[name]))
        else:
            quantizers[name] = inputs.quantize(layer, activation)
            inputs.take(layer, quantizers[name])
    return quantizers


class _Inputs:
    def __init__(self, editor: GraphDefEditor, model: QuantizedModel, form: Form) -> None:
        self._editor = editor
        self._outputs = model.outputs
        self._form = form
        self._keys = {
            (layer.op.name, layer.layer.activation_port): _key(layer, layer.place.activation)
            for layer in model.layers
        }
        self._quantizers: dict[Key, str] = {}
        self._pads: dict[Key, str] = {}

    def quantize(self, layer: QuantizedLayer, x: tf.Tensor) -> str:
        """The quantiser of `x` with the factors of `layer`."""
        key = _key(layer, x)
        if key not in self._quantizers:
            name = self._form.quantize(self._editor, layer, tensor_name(x.name), x.shape)
            self._quantizers[key] = name
        return self._quantizers[key]

    def pad(self, layer: QuantizedLayer, quantizer: str) -> str:
        """The Pad before `layer`, of what `quantizer` returns; a copy when others take it too."""
        key = _key(layer, layer.place.activation)
        if key not in self._pads:
            name = layer.place.activation.op.name
            takers = self._editor.consumers(name)
            if name in self._outputs or any(self._keys.get(taker) != key for taker in takers):
                copy = tf.compat.v1.NodeDef()
                copy.CopyFrom(self._editor.node(name))
                copy.name = self._editor.unique_name(f"{quantizer.rpartition('/')[0]}/Pad")
                name = self._editor.add(copy)
            self._editor.set_input(name, 0, quantizer)
            self._pads[key] = name
        return self._pads[key]

    def take(self, layer: QuantizedLayer, x: str) -> None:
        """Lets `layer` take `x`."""
        self._editor.set_input(layer.op.name, layer.layer.activation_port, x)


def _key(layer: QuantizedLayer, x: tf.Tensor) -> Key:
    return (x.name, layer.factors.scale_d, layer.factors.offset_d)


def _padded(layer: QuantizedLayer) -> bool:
    # Ascend's compiler matches a Pad before what multiplies by a weight only.
    return layer.place.weight is not None and layer.place.activation.op.type == "Pad"
