"""Integers in an ONNX graph: initialisers with their scale, behind DequantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_export.onnx.constants import Found, Tags
from graphquant_export.onnx.conversion import WEIGHT_NODE


def store_integers(model: onnx.ModelProto, weights: Sequence[Found], tags: Tags) -> dict[str, str]:
    """Puts the integers of weights and biases into `model`, and names the layers' nodes.

    ::

        <layer>/weight, …/weight_scale, …/weight_zero_point -> DequantizeLinear -> <layer>
        <layer>/bias, …/bias_scale, …/bias_zero_point -> DequantizeLinear -> <layer>

    The scale has the shape ``[]`` or, along the attribute ``axis``, ``[C]``.

    Args:
        model: As `convert` gave it.
        weights: Which weight each hidden node is.
        tags: The tags of its constants.

    Returns:
        The name of the node of each layer with a weight.

    Raises:
        UnsupportedLayerError: A constant has no place in the model, or no axis for its scales.
    """
    graph = model.graph
    nodes = list(graph.node)
    made: dict[int, onnx.NodeProto] = {}
    layers: dict[str, str] = {}
    for index, node in enumerate(nodes):
        if node.op_type != WEIGHT_NODE:
            continue
        weight = weights[helper.get_attribute_value(node.attribute[0])]
        made[index] = _dequantize(graph, weight)
        takers = _renamed(nodes, node.output[0], made[index].output[0])
        layer = weight.constant.layer
        if len(takers) != 1 or layer in layers:
            raise UnsupportedLayerError(
                f'layer "{layer}": tf2onnx made {len(takers)} ops of it; ONNX holds its integers '
                "in one only"
            )
        takers[0].name = layers[layer] = layer
    nodes = [made.get(index, node) for index, node in enumerate(nodes)]
    biases = _store_biases(graph, nodes, tags)
    del graph.node[:]
    graph.node.extend([*biases, *nodes])
    _check_stored(tags, layers, biases)
    return layers


def _store_biases(
    graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], tags: Tags
) -> list[onnx.NodeProto]:
    made: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        bias = tags.find(numpy_helper.to_array(tensor))
        if bias is not None:
            graph.initializer.remove(tensor)
            made.append(_dequantize(graph, bias))
            _renamed(nodes, tensor.name, made[-1].output[0])
    return made


def _dequantize(graph: onnx.GraphProto, found: Found) -> onnx.NodeProto:
    """The DequantizeLinear of `found`, whose initialisers are added to `graph`."""
    name = f"{found.constant.layer}/{found.constant.role}"
    axis, scale = _scale(found)
    zero_point = np.zeros(scale.shape, found.constant.codes.dtype)
    inputs = [name, f"{name}_scale", f"{name}_zero_point"]
    for array, key in zip((found.codes, scale, zero_point), inputs, strict=True):
        graph.initializer.append(numpy_helper.from_array(array, key))
    node = helper.make_node(
        "DequantizeLinear",
        inputs,
        [f"{name}/DequantizeLinear"],
        name=f"{name}/DequantizeLinear",
    )
    if axis is not None:
        node.attribute.append(helper.make_attribute("axis", axis))
    return node


def _scale(found: Found) -> tuple[int | None, npt.NDArray[np.float32]]:
    """(axis, scale ``[C]``) along which the groups of `found` lie, or (None, scale ``[]``)."""
    groups, scale = found.groups, found.constant.scale
    if len(scale) == 1:
        return None, scale.reshape(())
    for axis, size in enumerate(groups.shape):
        first = np.moveaxis(groups, axis, 0).reshape(size, -1)
        if (first == first[:, :1]).all():
            return axis, scale[first[:, 0]]
    constant = found.constant
    raise UnsupportedLayerError(
        f'layer "{constant.layer}": the scales of its {constant.role} lie along no axis of the '
        f"shape {list(groups.shape)} that it has in ONNX"
    )


def _renamed(nodes: Sequence[onnx.NodeProto], old: str, new: str) -> list[onnx.NodeProto]:
    """The nodes that took `old`, which now take `new`."""
    takers = [node for node in nodes if old in node.input]
    for node in takers:
        node.input[:] = [new if name == old else name for name in node.input]
    return takers


def _check_stored(tags: Tags, layers: dict[str, str], biases: Sequence[onnx.NodeProto]) -> None:
    stored = {node.name.removesuffix("/DequantizeLinear") for node in biases}
    stored |= {f"{layer}/weight" for layer in layers}
    for constant in tags.constants:
        if f"{constant.layer}/{constant.role}" not in stored:
            raise UnsupportedLayerError(
                f'layer "{constant.layer}": tf2onnx left its {constant.role} out, or computed '
                "with it before it could be stored as integers"
            )
