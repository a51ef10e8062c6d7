"""Biases of depthwise convolutions, of which MNN's kernel makes the integers that are meant.

It adds trunc(bias / s) + trunc(zero / m) to its sum, all in float32, where s is the step of the sum
and m = s / scale of the result. Meant is round(bias / s) + round(zero / m): of a bias on its grid
the first is often one less, and the second is half a step off on the average.

Source: CPUConvolution.cpp of MNN 3.6, ``updateInputOutputScale``; every CPU's kernel adds int32.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_export.quantized.simulate import SimulatedGraph, SimulatedLayer
from graphquant_export.targets.mnn.int8.planned_layers import PlannedLayer

DEPTHWISE = "DepthwiseConv2dNative"
Float32Array = npt.NDArray[np.float32]


def with_depthwise_biases(simulated: SimulatedGraph) -> SimulatedGraph:
    """`simulated` with zeros as the bias of depthwise layers that have none.

    Only by a bias can the file say which integer the zero point is. The addition has the name of
    the layer's op, and that an ending.
    """
    kernels = {layer.name: layer.layer.kernel_type for layer in simulated.model.layers}
    bare = [one for one in simulated.layers if one.bias is None and kernels[one.name] == DEPTHWISE]
    if not bare:
        return simulated
    editor = GraphDefEditor(simulated.graph_def)
    done = {layer.name: _with_zeros(editor, layer) for layer in bare}
    return attrs.evolve(
        simulated,
        graph_def=editor.graph_def(simulated.outputs),
        layers=tuple(done.get(layer.name, layer) for layer in simulated.layers),
    )


def _with_zeros(editor: GraphDefEditor, layer: SimulatedLayer) -> SimulatedLayer:
    assert layer.weight_codes is not None
    zeros = np.zeros(layer.weight_codes.shape[2] * layer.weight_codes.shape[3], np.int32)
    node = editor.unique_name(f"{layer.node}_sums")
    editor.rename(layer.node, node)
    bias = editor.add(const_node(editor.unique_name(f"{layer.node}/bias"), zeros.astype("f4")))
    editor.add(node_def(layer.node, "BiasAdd", [node, bias], T=tf.float32, data_format="NHWC"))
    return attrs.evolve(layer, node=node, bias=bias, bias_codes=zeros)


def store_biases(graph_def: tf.compat.v1.GraphDef, planned: Iterable[PlannedLayer]) -> None:
    """Puts the biases of the int8 layers among `planned` into `graph_def`, their grids final."""
    nodes = {node.name: node for node in graph_def.node}
    for layer in planned:
        simulated = layer.simulated
        if layer.layer is None or layer.layer.kernel_type != DEPTHWISE:
            continue
        if layer.input is None or layer.output is None:
            continue
        assert simulated.bias is not None
        assert simulated.bias_codes is not None
        assert simulated.weight_scale is not None
        ratio = np.float32(layer.input.scale) / np.float32(layer.output.scale)
        bias = stored_bias(
            simulated.bias_codes, simulated.scale, simulated.weight_scale * ratio, layer.output.zero
        )
        nodes[simulated.bias].CopyFrom(const_node(simulated.bias, bias))


def stored_bias(
    codes: npt.NDArray[np.int32], step: Float32Array, factor: Float32Array, zero: int
) -> Float32Array:
    """The bias, float32 ``[C]``, that makes the kernel add `codes` and the rounded zero point.

    Args:
        codes: The bias in steps of the sum.
        step: Step of the sum, ``[1]`` or ``[C]``.
        factor: `step` by the scale of the result, as the kernel has it.
        zero: Zero point of the result.
    """
    meant = codes + np.rint(zero / factor.astype(np.float64))
    added = meant - np.trunc(np.float32(zero) / factor)
    # In the middle between two integers: what is cut off doesn't hang on the last bit.
    middle = added + 0.5 * np.sign(added)
    return np.asarray(middle * step.astype(np.float64), np.float32)
