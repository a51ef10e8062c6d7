"""Puts the integers of weights and biases into an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import numpy_helper

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_export.targets.onnx.constants import Found, Tags
from graphquant_export.targets.onnx.dequantize import dequantize
from graphquant_export.targets.onnx.model_file import opset_of


def store_integers(model: onnx.ModelProto, weights: Mapping[str, Found], tags: Tags) -> set[str]:
    """Puts the integers into `model`, and names the nodes that take them after their layers.

    Args:
        model: As `convert` gave it.
        weights: Which weight each input is that stands for one.
        tags: The tags of its constants.

    Returns:
        The layers with a weight, whose names their nodes have now.

    Raises:
        UnsupportedLayerError: A constant has no place in the model, or no axis for its scales.
    """
    graph, opset = model.graph, opset_of(model)
    nodes = list(graph.node)
    made: list[onnx.NodeProto] = []
    layers: set[str] = set()
    for name, weight in weights.items():
        made += dequantize(graph, weight, opset)
        takers = _connect(nodes, name, made[-1].output[0])
        layer = weight.constant.layer
        if len(takers) != 1 or layer in layers:
            raise UnsupportedLayerError(
                f'layer "{layer}": tf2onnx made {len(takers)} ops of it; ONNX holds its integers '
                "in one only"
            )
        _name(nodes, takers[0], layer)
        layers.add(layer)
    for value in [value for value in graph.input if value.name in weights]:
        graph.input.remove(value)
    biases = _store_biases(graph, nodes, tags)
    graph.node.extend([*made, *biases])
    _check_stored(tags, layers, biases)
    return layers


def name_layers(model: onnx.ModelProto, names: dict[str, str]) -> set[str]:
    """Names the nodes that are still called as in TensorFlow after their layers.

    Args:
        model: The model to change.
        names: Name of the layer, by the name of its node in TensorFlow.

    Raises:
        UnsupportedLayerError: There is no node of that name.
    """
    nodes = list(model.graph.node)
    for name, layer in names.items():
        found = [node for node in nodes if node.name == name]
        if not found:
            raise UnsupportedLayerError(f'layer "{layer}": tf2onnx made no op of its own of it')
        _name(nodes, found[0], layer)
    return set(names.values())


def _store_biases(
    graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], tags: Tags
) -> list[onnx.NodeProto]:
    made: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        bias = tags.find(numpy_helper.to_array(tensor))
        if bias is not None:
            graph.initializer.remove(tensor)
            made += dequantize(graph, bias, 0)
            _connect(nodes, tensor.name, made[-1].output[0])
    return made


def _connect(nodes: Sequence[onnx.NodeProto], old: str, new: str) -> list[onnx.NodeProto]:
    """The nodes that took `old`, which now take `new`."""
    takers = [node for node in nodes if old in node.input]
    for node in takers:
        node.input[:] = [new if name == old else name for name in node.input]
    return takers


def _name(nodes: Sequence[onnx.NodeProto], node: onnx.NodeProto, layer: str) -> None:
    """Calls `node` `layer`; an output that bears that name in TensorFlow gives it away."""
    for other in nodes:
        if other.name == layer:
            other.name = f"{layer}/{other.op_type}"
    node.name = layer


def _check_stored(tags: Tags, layers: set[str], biases: Sequence[onnx.NodeProto]) -> None:
    stored = {node.name.removesuffix("/DequantizeLinear") for node in biases}
    stored |= {f"{layer}/weight" for layer in layers}
    for constant in tags.constants:
        if f"{constant.layer}/{constant.role}" not in stored:
            raise UnsupportedLayerError(
                f'layer "{constant.layer}": tf2onnx left its {constant.role} out, or computed '
                "with it before it could be stored as integers"
            )
