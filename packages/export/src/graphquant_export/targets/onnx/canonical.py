"""One order and one set of names for a model, whatever tf2onnx was used for before.

tf2onnx numbers what it adds with a counter that never starts again, and sorts nodes by these
names. The same model is the same bytes only after both are gone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import onnx

from graphquant_core.exceptions import ModelFileError

_COUNTER = re.compile(r"__\d+")


def canonicalize(model: onnx.ModelProto, layers: Collection[str]) -> None:
    """Sorts the nodes of `model` by what they need, and takes the counters out of its names.

    A tensor is called after the node that it comes from, an output of the model after its
    TensorFlow op. Dimensions that are not static are called ``unk_1``, ``unk_2`` …

    Args:
        model: The model to change.
        layers: Names of nodes that are kept.
    """
    graph = model.graph
    _sort(graph)
    _name_nodes(graph, frozenset(layers))
    names = _tensor_names(graph)
    for part in _graphs(graph):
        del part.value_info[:]
        _rename_tensors(part, names)
    _name_dimensions(graph)


def _name_nodes(graph: onnx.GraphProto, layers: frozenset[str]) -> None:
    taken = set(layers)
    for part in _graphs(graph):
        for node in part.node:
            if node.name not in layers:
                plain = _COUNTER.sub("", node.name)
                # What tf2onnx added beside an op bears its name: say what it is.
                added = plain != node.name and plain != node.op_type
                node.name = _free(f"{plain}/{node.op_type}" if added else plain, taken)


def _tensor_names(graph: onnx.GraphProto) -> dict[str, str]:
    """The new name of each tensor, all different."""
    ends = {value.name: value.name.removesuffix(":0") for value in (*graph.input, *graph.output)}
    names, taken = {"": "", **ends}, set(ends.values())
    for part in _graphs(graph):
        for value in (*part.input, *part.initializer):
            if value.name not in names:
                plain = _COUNTER.sub("", value.name.removesuffix(":0"))
                names[value.name] = _free(plain, taken)
        for node in part.node:
            for port, name in enumerate(node.output):
                if name not in names:
                    names[name] = _free(f"{node.name}:{port}" if port else node.name, taken)
    return names


def _free(name: str, taken: set[str]) -> str:
    """`name`, or the first of ``name_1``, ``name_2`` … that is not `taken`; then it is."""
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def _sort(graph: onnx.GraphProto) -> None:
    """Every node behind those that it needs, in the order in which the outputs need them."""
    makers = {name: node for node in graph.node for name in node.output}
    ordered: dict[int, onnx.NodeProto] = {}
    entered: set[int] = set()
    waiting = [(value.name, False) for value in reversed(graph.output)]
    while waiting:
        name, left = waiting.pop()
        node = makers.get(name)
        if node is None or id(node) in ordered:
            continue
        if left:
            ordered[id(node)] = node
            continue
        if id(node) in entered:
            raise ModelFileError(f'tf2onnx made a cycle through the node "{node.name}"')
        entered.add(id(node))
        waiting.append((name, True))
        waiting.extend((taken, False) for taken in reversed(list(_taken(node))))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered.values()]
    del graph.node[:]
    graph.node.extend(kept)
    needed = [name for node in kept for name in _taken(node)]
    needed += [value.name for value in graph.output]
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    used = [tensors[name] for name in dict.fromkeys(needed) if name in tensors]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in used]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _taken(node: onnx.NodeProto) -> Iterator[str]:
    """What `node` needs, what only its subgraphs need included."""
    yield from node.input
    for part in _subgraphs(node):
        for inner in _graphs(part):
            for inside in inner.node:
                yield from inside.input
            yield from (value.name for value in inner.output)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """`graph` and every subgraph of it."""
    yield graph
    for node in graph.node:
        for part in _subgraphs(node):
            yield from _graphs(part)


def _rename_tensors(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names[value.name]
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]


def _name_dimensions(graph: onnx.GraphProto) -> None:
    names: dict[str, str] = {}
    for part in _graphs(graph):
        for value in (*part.input, *part.output):
            for dimension in value.type.tensor_type.shape.dim:
                if dimension.dim_param:
                    number = len(names) + 1
                    dimension.dim_param = names.setdefault(dimension.dim_param, f"unk_{number}")
