"""A quantised model becomes a graph: one mechanism for every form.

::

    quantiser -> [Pad] -> layer <- weight ;  layer -> [BiasAdd] -> dequantisation
    quantiser -> Split -> {layer -> [BiasAdd]}* -> Concat -> dequantisation
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np
import tensorflow as tf

from graphquant_core.graph import PassThrough
from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_export.quantized.form import Form
from graphquant_export.quantized.groups import Group
from graphquant_export.quantized.integers import Float32Array
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.quantized.model import QuantizedModel
from graphquant_export.quantized.parts import free_scope
from graphquant_export.quantized.quantize_inputs import quantize_inputs


@attrs.frozen
class EmittedLayer:
    """Names of the nodes of one layer in the graph.

    Attributes:
        name: Name of the layer in the record.
        op_type: Type of its op.
        node: Name of the node that sums; `name` unless that is an output of the model.
        quantizer: Its quantiser, which layers with the same input and factors share.
        weight: The node with its weight, ``None`` without weight.
        bias: The node with its bias, ``None`` without bias.
        sums: What is dequantised: its node, its BiasAdd, or the Concat of its group.
        value: What `sums` is when it is dequantised, which the members of a group share; `sums`
            itself in a form that has nothing to dequantise.
        folded: Names of the nodes that were folded into it.
    """

    name: str
    op_type: str
    node: str
    quantizer: str
    weight: str | None
    bias: str | None
    sums: str
    value: str
    folded: tuple[str, ...]


def emit(model: QuantizedModel, form: Form) -> tuple[GraphDefEditor, tuple[EmittedLayer, ...]]:
    """The graph of `model` in `form`, and its layers in the order of `model`.

    The outputs of the model keep their names; `GraphDefEditor.graph_def` drops what they don't
    need any more.

    Raises: what `form` raises.
    """
    editor = model.float_editor()
    # First every quantiser: it takes what another layer returns, and is redirected with it.
    quantizers = quantize_inputs(editor, model, form)
    emitter = _Emitter(editor, model, form, quantizers)
    grouped = [layer for group in model.groups for layer in emitter.emit_group(group)]
    done = {layer.name: layer for layer in grouped}
    layers = tuple(done.get(layer.name) or emitter.emit(layer) for layer in model.layers)
    return editor, layers


@attrs.frozen
class _Sums:
    """Names of the nodes up to a layer's sums."""

    weight: str | None
    bias: str | None
    sums: str


class _Emitter:
    def __init__(
        self, editor: GraphDefEditor, model: QuantizedModel, form: Form, quantizers: dict[str, str]
    ) -> None:
        self._editor = editor
        self._outputs = frozenset(model.outputs)
        self._form = form
        self._quantizers = quantizers

    def emit(self, layer: QuantizedLayer) -> EmittedLayer:
        op, last = layer.op, layer.last
        consumers = self._editor.consumers(last.name)
        node = self._free_name_of_output(op.name) if last.op is op else op.name
        found = self._sums(layer, node)
        value = self._form.dequantize(
            self._editor, layer, found.sums, layer.integers.scale, op.outputs[0].shape
        )
        result = self._reshape_as_before(value, layer)
        self._replace_result(last.op.name, consumers, result)
        return self._emitted(layer, node, found, found.sums, value)

    def emit_group(self, group: Group) -> list[EmittedLayer]:
        concat = group.concat.name
        consumers = self._editor.consumers(concat)
        node = self._free_name_of_output(concat)
        found = []
        for port, layer in enumerate(group.members, group.first_port):
            found.append(self._sums(layer, layer.op.name))
            self._editor.set_input(node, port, found[-1].sums)
        scale = np.concatenate([_scale_of_each_channel(layer) for layer in group.members])
        shape = group.concat.outputs[0].shape
        value = self._form.dequantize(self._editor, group.members[0], node, scale, shape)
        self._replace_result(concat, consumers, value)
        return [
            self._emitted(layer, layer.op.name, parts, node, value)
            for layer, parts in zip(group.members, found, strict=True)
        ]

    def _sums(self, layer: QuantizedLayer, node: str) -> _Sums:
        weight = bias = None
        sums = node
        port = layer.layer.weight_port
        if layer.integers.weight is not None and port is not None:
            weight = self._form.weight(self._editor, layer)
            self._editor.set_input(node, port, weight)
        if layer.op.type == "Conv2DBackpropInput":
            self._fix_input_sizes(layer, node)
        if layer.integers.bias is not None:
            bias, sums = self._form.bias(self._editor, layer, node)
        return _Sums(weight, bias, sums)

    def _fix_input_sizes(self, layer: QuantizedLayer, node: str) -> None:
        sizes, shape = layer.op.inputs[0], layer.op.outputs[0].shape
        if sizes.op.type == "Const" or not shape.is_fully_defined():
            return
        values = np.array(shape.as_list(), sizes.dtype.as_numpy_dtype)
        name = free_scope(self._editor, layer, "input_sizes")
        self._editor.set_input(node, 0, self._editor.add(const_node(name, values)))

    def _emitted(
        self, layer: QuantizedLayer, node: str, found: _Sums, sums: str, value: str
    ) -> EmittedLayer:
        steps = layer.integers.steps
        for step in steps:
            self._editor.move_control_edges(step.op.name, value)
        folded = tuple(step.op.name for step in steps if not isinstance(step, PassThrough))
        return EmittedLayer(
            name=layer.name,
            op_type=layer.op.type,
            node=node,
            quantizer=self._quantizers[layer.name],
            weight=found.weight,
            bias=found.bias,
            sums=sums,
            value=value,
            folded=folded,
        )

    def _reshape_as_before(self, value: str, layer: QuantizedLayer) -> str:
        result = value
        for step in layer.integers.steps:
            if isinstance(step, PassThrough) and step.op.type == "Squeeze":
                self._editor.set_input(step.op.name, 0, result)
                result = step.op.name
        return result

    def _free_name_of_output(self, name: str) -> str:
        if name not in self._outputs:
            return name
        renamed = self._editor.unique_name(f"{name}_sums")
        self._editor.rename(name, renamed)
        return renamed

    def _replace_result(self, name: str, consumers: Iterable[tuple[str, int]], result: str) -> None:
        for consumer, port in consumers:
            self._editor.set_input(consumer, port, result)
        if name not in self._outputs:
            return
        node = node_def(name, "Identity", [result], T=tf.float32)
        if self._editor.has(name):
            self._editor.replace(node)
        else:
            self._editor.add(node)


def _scale_of_each_channel(layer: QuantizedLayer) -> Float32Array:
    return np.broadcast_to(layer.integers.scale, [layer.layer.output_channels or 1])
