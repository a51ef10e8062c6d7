"""Batch norms put back behind the layers of a folded model, for the time of the training.

A frozen graph has none left, or fixed ones. While weights move in steps of a coarse grid, a norm
that follows each batch keeps the next layer's input where it was; without it 2 bits stay four
points behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_export.targets.mnn import mnn_grouping
from graphquant_tune.folded import FoldedLayer, FoldedModel

Float32Array = npt.NDArray[np.float32]
Moments = Mapping[str, tuple[Float32Array, Float32Array]]
"""Mean and variance of each channel of a layer's result without its bias, by the layer's name."""

EPSILON = 1e-5
CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput"})


@attrs.frozen
class Norm:
    """The batch norm that stands for the bias of a layer.

    Attributes:
        layer: The layer.
        gamma: Name of the constant with its factor.
        beta: Name of the constant with what it adds.
        node: Name of the norm's node, which is that of the layer's sum.
    """

    layer: FoldedLayer
    gamma: str
    beta: str
    node: str


def normalised_layers(model: FoldedModel) -> tuple[FoldedLayer, ...]:
    """The convolutions that a norm can stand behind and fold into again.

    Not those whose weight others share, whose groups cross channels, so that a factor would leave
    the grid, or whose result is an output of the model.
    """
    used = [layer.weight for layer in model.layers]
    return tuple(
        layer
        for layer in model.layers
        if layer.layer.op_type in CONVOLUTIONS
        and layer.sum is not None
        and layer.sum not in model.outputs
        and used.count(layer.weight) == 1
        and not mnn_grouping(layer.layer).crosses_channels
    )


def with_norms(
    model: FoldedModel, layers: Sequence[FoldedLayer], moments: Moments
) -> tuple[tf.compat.v1.GraphDef, tuple[Norm, ...]]:
    """`model` with a batch norm in training mode in place of the bias of each of `layers`.

    On the samples that `moments` are of, it computes what the model does:
    gamma = sqrt(variance + epsilon), beta = mean + bias.
    """
    editor = GraphDefEditor(model.graph_def)
    values = model.values()
    norms = []
    for layer in layers:
        assert layer.sum is not None
        assert layer.bias is not None
        mean, variance = moments[layer.name]
        gamma, beta, empty = (
            editor.add(const_node(editor.unique_name(f"{layer.name}/{name}"), value))
            for name, value in (
                ("gamma", np.sqrt(variance + np.float32(EPSILON))),
                ("beta", mean + values[layer.bias]),
                ("empty", np.zeros(0, np.float32)),
            )
        )
        data_format = editor.node(layer.sum).attr["data_format"].s.decode()
        editor.replace(
            node_def(
                layer.sum,
                "FusedBatchNormV3",
                [layer.name, gamma, beta, empty, empty],
                T=tf.float32,
                U=tf.float32,
                epsilon=EPSILON,
                exponential_avg_factor=1.0,
                data_format=data_format,
                is_training=True,
            )
        )
        norms.append(Norm(layer, gamma, beta, layer.sum))
    return editor.graph_def(model.outputs), tuple(norms)


def without_norm(
    norm: Norm,
    weight: Float32Array,
    gamma: Float32Array,
    beta: Float32Array,
    mean: npt.NDArray[np.float64],
    variance: npt.NDArray[np.float64],
) -> tuple[Float32Array, Float32Array]:
    """(weight * f, beta - mean * f), f = gamma / sqrt(variance + epsilon): the norm folded again.

    A factor for each output channel leaves a weight on the grid of its groups.
    """
    factor = gamma.astype(np.float64) / np.sqrt(variance + EPSILON)
    scaled = weight * norm.layer.along_channels(factor.astype(np.float32))
    return scaled.astype(np.float32), (beta - mean * factor).astype(np.float32)
