"""A constant behind a layer that shifts its results, one number for each output channel."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import BatchNorm, GraphView, Scale, Shift, affine_tail
from graphquant_core.graph.frozen import GraphDefEditor, evaluate_constants
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_core.layer import Layer

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

_MEAN_PORT = 3


@attrs.frozen(eq=False)
class ShiftPlace:
    """Where the results of a layer are shifted.

    Attributes:
        node: Name of the Const that holds the shift, or that it is added to.
        value: What the Const holds before, float32, with a number for each channel.
        factor: What a shift of the layer's results is multiplied by there, ``[C]`` or ``[1]``.
    """

    node: str
    value: Float32Array
    factor: Float64Array

    def shifted(self, by: Float64Array) -> Float32Array:
        """The value with which each channel of the layer's results is higher by `by`, ``[C]``."""
        moved = self.value + (by * self.factor).reshape(self.value.shape)
        return moved.astype(np.float32)


def place_shift(
    view: GraphView, editor: GraphDefEditor, layer: Layer, outputs: Collection[str]
) -> ShiftPlace | None:
    """Where `layer` is shifted: the next bias, or the next batch norm's mean, else a new BiasAdd.

    That op takes a constant of its own afterwards, with the value that it took before.

    Args:
        view: View of the frozen graph that `editor` began with.
        editor: The graph.
        layer: A layer of it.
        outputs: Names of the model's outputs.

    Returns:
        ``None`` for a layer without a bias that is an output of the model itself.
    """
    tensor = view.graph.get_operation_by_name(layer.name).outputs[0]
    channels = layer.output_channels or 1
    factor: Float64Array = np.ones(1)
    kept = frozenset(outputs)
    for step in affine_tail(view, tensor, layer.output_channel_axis, channels, kept):
        if isinstance(step, Scale):
            factor = factor * _value(view, step.value).reshape(-1).astype(np.float64)
        elif isinstance(step, BatchNorm):
            return _own_constant(view, editor, step.op, _MEAN_PORT, channels, -factor)
        elif isinstance(step, Shift):
            port = next(i for i, taken in enumerate(step.op.inputs) if taken is step.value)
            return _own_constant(view, editor, step.op, port, channels, step.sign * factor)
    if layer.name in kept:
        return None
    return _new_bias(editor, layer, channels)


def set_constants(editor: GraphDefEditor, values: Mapping[str, Float32Array]) -> None:
    """Gives each Const in `values`, by name, its value."""
    for name, value in values.items():
        editor.replace(const_node(name, value))


def _own_constant(
    view: GraphView,
    editor: GraphDefEditor,
    op: tf.Operation,
    port: int,
    channels: int,
    factor: Float64Array,
) -> ShiftPlace:
    value = _value(view, op.inputs[port])
    if value.size != channels:
        value = np.broadcast_to(value.reshape(-1), (channels,))
    value = np.ascontiguousarray(value, np.float32)
    node = editor.add(const_node(editor.unique_name(f"{op.name}/corrected"), value))
    editor.set_input(op.name, port, node)
    return ShiftPlace(node, value, factor)


def _new_bias(editor: GraphDefEditor, layer: Layer, channels: int) -> ShiftPlace:
    zeros = np.zeros(channels, np.float32)
    consumers = editor.consumers(layer.name)
    name = editor.unique_name(f"{layer.name}/shifted")
    node = editor.add(const_node(editor.unique_name(f"{name}/bias"), zeros))
    editor.add(node_def(name, "BiasAdd", [layer.name, node], T=tf.float32, data_format="NHWC"))
    for taker, port in consumers:
        editor.set_input(taker, port, name)
    return ShiftPlace(node, zeros, np.ones(1))


def _value(view: GraphView, tensor: tf.Tensor) -> npt.NDArray[np.float32]:
    return evaluate_constants(view.graph, [tensor])[0]
