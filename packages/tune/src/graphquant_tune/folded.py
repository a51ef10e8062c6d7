"""A frozen graph in which every layer is a weight and a bias: what tuning trains and writes.

What is added and multiplied behind a layer (bias, batch norm, constant factors) becomes one bias
and a factor in the weight, so that both have one value to train and one place to go back to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.graph import GraphView, PassThrough, Step, affine_tail
from graphquant_core.graph.frozen import (
    GraphDefEditor,
    check_outputs,
    evaluate_constants,
    import_frozen,
    tensor_name,
)
from graphquant_core.graph.frozen.fold_batch_norm import Fold, folds, parameters
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_core.graph.planner import plan_graph
from graphquant_core.layer import Layer

Float32Array = npt.NDArray[np.float32]


@attrs.frozen
class FoldedLayer:
    """One layer of a folded model.

    Attributes:
        layer: Its description.
        weight: Name of the constant with its weight, which other layers may share.
        bias: Name of the constant with its bias, float32 ``[C]``; ``None`` when its result is an
            output of the model.
        sum: Name of the BiasAdd; ``None`` likewise.
    """

    layer: Layer
    weight: str
    bias: str | None
    sum: str | None

    @property
    def name(self) -> str:
        """Name of the layer's op."""
        return self.layer.name

    def along_channels(self, vector: Float32Array) -> Float32Array:
        """`vector` ``[C]`` in the shape that multiplies the weight."""
        shape = per_channel_shape(self.layer.weight_shape or (), self.layer.weight_channel_axes)
        return vector.reshape(shape)


@attrs.frozen(eq=False)
class FoldedModel:
    """A frozen graph whose layers are each a weight and a bias.

    Attributes:
        graph_def: The graph.
        outputs: Names of the ops that are its outputs.
        layers: Its layers with a weight.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...]
    layers: tuple[FoldedLayer, ...]

    def values(self) -> dict[str, Float32Array]:
        """The weights and biases, by the names of their constants."""
        wanted = {layer.weight for layer in self.layers}
        wanted |= {layer.bias for layer in self.layers if layer.bias is not None}
        return {
            node.name: tf.make_ndarray(node.attr["value"].tensor)
            for node in self.graph_def.node
            if node.name in wanted
        }

    def values_in(self, graph_def: tf.compat.v1.GraphDef) -> dict[str, Float32Array]:
        """The weights and biases that the layers have in `graph_def`, by this model's names.

        Args:
            graph_def: The graph, some of whose layers take other constants.
        """
        graph = import_frozen(graph_def)
        names: list[str] = []
        tensors: list[tf.Tensor] = []
        for layer in self.layers:
            names.append(layer.weight)
            op = graph.get_operation_by_name(layer.name)
            tensors.append(op.inputs[layer.layer.weight_port or 0])
            if layer.bias is not None and layer.sum is not None:
                names.append(layer.bias)
                tensors.append(graph.get_operation_by_name(layer.sum).inputs[1])
        return dict(zip(names, evaluate_constants(graph, tensors), strict=True))

    def with_values(self, values: Mapping[str, Float32Array]) -> tf.compat.v1.GraphDef:
        """The graph with other weights and biases, by the names of their constants."""
        graph_def = tf.compat.v1.GraphDef.FromString(self.graph_def.SerializeToString())
        for node in graph_def.node:
            if node.name in values:
                node.CopyFrom(const_node(node.name, np.asarray(values[node.name], np.float32)))
        return graph_def


def with_graph(model: FoldedModel, graph_def: tf.compat.v1.GraphDef) -> FoldedModel:
    """`model` with the weights and biases of `graph_def`, which has the same ops.

    Args:
        graph_def: The graph, some of whose layers take other constants.
    """
    editor = GraphDefEditor(graph_def)

    def taking(layer: FoldedLayer) -> FoldedLayer:
        weight = editor.node(layer.name).input[layer.layer.weight_port or 0]
        bias = None if layer.sum is None else tensor_name(editor.node(layer.sum).input[1])
        return attrs.evolve(layer, weight=tensor_name(weight), bias=bias)

    layers = tuple(taking(layer) for layer in model.layers)
    return attrs.evolve(model, graph_def=graph_def, layers=layers)


def fold_model(model: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> FoldedModel:
    """`model` with each layer's tail folded, in float64, into its weight and one bias.

    A layer without a bias gets one of zeros: quantising its weight moves its mean. Layers that
    share a weight go on sharing it unless different factors follow them.

    Args:
        model: Frozen float graph.
        outputs: Names of the ops that are its outputs.

    Raises:
        OutputNotFoundError: An output is not in the model.
        NonFiniteError: A batch norm's factor is NaN or infinite; names the op.
        ModelFileError: The model isn't frozen.
    """
    names = check_outputs(model, outputs)
    editor = GraphDefEditor(GraphDefEditor(model).graph_def(names))
    graph = import_frozen(editor.graph_def(names))
    view = GraphView(graph)
    found = [
        layer for layer in plan_graph(graph, view=view).layers if layer.weight_port is not None
    ]
    tails = {layer.name: _tail(view, layer, names) for layer in found}
    ops = {layer.name: graph.get_operation_by_name(layer.name) for layer in found}
    weights = {name: ops[name].inputs[layer.weight_port] for name, layer in _named(found)}
    tensors = [*weights.values(), *(t for tail in tails.values() for t in parameters(tail))]
    unique = list({tensor.name: tensor for tensor in tensors}.values())
    values = dict(zip([t.name for t in unique], evaluate_constants(graph, unique), strict=True))
    constants: dict[tuple[str, bytes], str] = {}
    layers = []
    for layer in found:
        weight, tail = weights[layer.name], tails[layer.name]
        fold = folds(tail, values, layer.output_channels or 0)[-1]
        shared = (weight.name, fold.factor.tobytes())
        if shared not in constants:
            name = editor.unique_name(f"{layer.name}/weight")
            constants[shared] = editor.add(
                const_node(name, _folded(layer, values[weight.name], fold))
            )
        editor.set_input(layer.name, layer.weight_port or 0, constants[shared])
        layers.append(_with_bias(editor, layer, constants[shared], tail, fold, names))
    return FoldedModel(editor.graph_def(names), names, tuple(layers))


def _named(layers: Sequence[Layer]) -> list[tuple[str, Layer]]:
    return [(layer.name, layer) for layer in layers]


def _tail(view: GraphView, layer: Layer, outputs: Sequence[str]) -> tuple[Step, ...]:
    output = view.graph.get_operation_by_name(layer.name).outputs[0]
    channels = layer.output_channels or 0
    return affine_tail(view, output, layer.output_channel_axis, channels, frozenset(outputs))


def _folded(layer: Layer, weight: npt.NDArray[np.float32], fold: Fold) -> Float32Array:
    shape = per_channel_shape(layer.weight_shape or (), layer.weight_channel_axes)
    channels = layer.output_channels or 0
    factor = np.broadcast_to(fold.factor, (channels,)).reshape(shape)
    return (weight.astype(np.float64) * factor).astype(np.float32)


def _with_bias(
    editor: GraphDefEditor,
    layer: Layer,
    weight: str,
    tail: Sequence[Step],
    fold: Fold,
    outputs: Sequence[str],
) -> FoldedLayer:
    """`layer`, whose bias takes the place of its tail."""
    if layer.name in outputs:
        return FoldedLayer(layer, weight, None, None)
    channels = layer.output_channels or 0
    takers = editor.consumers(layer.name)
    values = np.broadcast_to(fold.bias, (channels,)).astype(np.float32)
    bias = editor.add(const_node(editor.unique_name(f"{layer.name}/bias"), values))
    data_format = "NCHW" if layer.data_format.startswith("NC") else "NHWC"
    added = editor.add(
        node_def(
            editor.unique_name(f"{layer.name}/sum"),
            "BiasAdd",
            [layer.name, bias],
            T=tf.float32,
            data_format=data_format,
        )
    )
    for taker, port in takers:
        editor.set_input(taker, port, added)
    for step in tail:
        if not isinstance(step, PassThrough):
            _take_out(editor, step, outputs)
    return FoldedLayer(layer, weight, bias, added)


def _take_out(editor: GraphDefEditor, step: Step, outputs: Sequence[str]) -> None:
    """Lets everything take what `step` takes; an output of the model keeps its name."""
    op = step.op
    port = next(
        port
        for port, tensor in enumerate(op.inputs)
        if not any(tensor is parameter for parameter in parameters([step]))
    )
    source = tensor_name(editor.node(op.name).input[port])
    if op.name in outputs:
        editor.replace(node_def(op.name, "Identity", [source], T=tf.float32))
        return
    for taker, taken in editor.consumers(op.name):
        editor.set_input(taker, taken, source)
