"""Names that MNN's converter gives the layers of a TensorFlow graph."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.affine import ADDING_TYPES
from graphquant_core.handler import static_shape
from graphquant_core.layer import Layer

ACTIVATIONS = ("Relu", "Relu6")
"""What MNN merges with a layer, behind its bias."""

# Ops that stand between a layer and its bias without keeping MNN from merging the two.
_BETWEEN = {
    "Conv2D": frozenset({"Identity", "BatchToSpaceND", "Squeeze"}),
    "DepthwiseConv2dNative": frozenset({"Identity", "BatchToSpaceND", "Squeeze"}),
    "Conv2DBackpropInput": frozenset({"Identity"}),
    "MatMul": frozenset({"Identity"}),
}


MATMUL_ENDING = "__matmul_converted"

RESHAPING_TYPES = frozenset({"ExpandDims", "Identity", "Reshape", "Squeeze"})
"""What MNN computes behind an activation function that the graph has behind it."""


def mnn_op_names(view: GraphView, layer: Layer) -> tuple[str, ...]:
    """Names of the MNN ops that `layer` becomes: one, or one for each group of a grouped Conv2D.

    A Conv2D with a group for each channel and a filter for each group becomes one depthwise op.

    MNN merges a bias into its layer, which then has the bias op's name. A batch norm, an
    activation function or a factor leaves the name as it is. A MatMul becomes a convolution
    called ``<name>__matmul_converted``.

    Args:
        view: View of the frozen graph, or of the live graph before its gradients are built.
        layer: A layer of that graph.

    Source: MNN 3.6.1, from what it made of each pattern.
    """
    name = op_with_bias(view, layer).name
    if layer.op_type == "MatMul":
        return (f"{name}{MATMUL_ENDING}",)
    groups = conv_groups(layer)
    if groups == 1 or layer.kernel_type != "Conv2D":
        return (name,)
    return tuple(f"{name}__group__{index}" for index in range(groups))


def conv_groups(layer: Layer) -> int:
    """Groups of a grouped Conv2D, 1 for every other layer."""
    if layer.op_type != "Conv2D" or layer.input_channels is None or layer.weight_shape is None:
        return 1
    return layer.input_channels // layer.weight_shape[2]


def op_with_bias(view: GraphView, layer: Layer) -> tf.Operation:
    """The op whose result is that of `layer` with the bias that MNN merges; else its own op."""
    op = view.graph.get_operation_by_name(layer.name)
    for taker, port in _single_takers(view, op.outputs[0], _BETWEEN[layer.op_type]):
        if _is_bias(view, layer, taker, port):
            return taker
    return op


def op_with_activation(view: GraphView, layer: Layer) -> tf.Operation:
    """The Relu or Relu6 that MNN merges into `layer`; else `op_with_bias`."""
    op = op_with_bias(view, layer)
    for taker, _ in _single_takers(view, op.outputs[0], _BETWEEN[layer.op_type]):
        if taker.type in ACTIVATIONS:
            return taker
    return op


def is_merged_further(view: GraphView, layer: Layer, result: tf.Operation) -> bool:
    """Whether MNN merges what takes `result`, which is `layer`'s, too: an activation, or a bias."""
    if result.type in ACTIVATIONS:
        return False
    return any(
        taker.type in ACTIVATIONS or _is_bias(view, layer, taker, port)
        for taker, port in _single_takers(view, result.outputs[0], _BETWEEN[layer.op_type])
    )


def _single_takers(
    view: GraphView, tensor: tf.Tensor, between: frozenset[str]
) -> Iterator[tuple[tf.Operation, int]]:
    """(op, port) of the only consumer, and of its only consumer while its type is in `between`."""
    while True:
        consumers = view.consumers(tensor)
        if len(consumers) != 1:
            return
        taker, port = consumers[0]
        yield taker, port
        if taker.type not in between:
            return
        tensor = taker.outputs[0]


def _is_bias(view: GraphView, layer: Layer, op: tf.Operation, port: int) -> bool:
    if op.type != "BiasAdd" and op.type not in ADDING_TYPES:
        return False
    if port != 0 and layer.op_type != "MatMul":
        return False
    other = op.inputs[1 - port]
    shape = static_shape(other)
    if view.depends_on_data(other) or not shape:
        return False
    return shape[-1] == layer.output_channels and all(size == 1 for size in shape[:-1])
