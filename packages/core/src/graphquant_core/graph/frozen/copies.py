"""The same few ops behind many tensors, imported together.

Creating an op from Python costs TensorFlow about five times what importing it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1

_VALUE, _SHARED = "value", "shared"


def add_for_each(
    graph: tf.Graph,
    tensors: Sequence[tf.Tensor],
    build: Callable[..., Sequence[tf.Tensor]],
    shared: Sequence[tf.Tensor] = (),
) -> list[list[tf.Tensor]]:
    """``build(tensor, *shared)`` for each of `tensors`.

    Args:
        graph: The graph that the ops go to.
        tensors: Tensors of it, all of one dtype.
        build: Makes ops of tensors whose shape it doesn't know, without variables and functions.
        shared: Tensors of `graph` that all of them take besides.
    """
    if not tensors:
        return []
    nodes, results = _built(tensors[0], build, shared)
    graph_def = v1.GraphDef(versions=nodes.versions)
    placed = {f"{_SHARED}_{index}": tensor for index, tensor in enumerate(shared)}
    scopes = [graph.unique_name(f"graphquant_{tensor.op.name}") for tensor in tensors]
    fed = {f"{scope}/{_VALUE}": tensor for scope, tensor in zip(scopes, tensors, strict=True)}
    for scope in scopes:
        _copy(nodes, scope, scopes[0], graph_def)
    with graph.as_default(), v1.name_scope(None), tf.control_dependencies(None):
        tf.import_graph_def(graph_def, input_map={**fed, **placed}, name="")
    return [[graph.get_tensor_by_name(f"{scope}/{name}") for name in results] for scope in scopes]


def _built(
    tensor: tf.Tensor, build: Callable[..., Sequence[tf.Tensor]], shared: Sequence[tf.Tensor]
) -> tuple[tf.compat.v1.GraphDef, list[str]]:
    """The ops once, behind placeholders, and the names of the tensors that `build` returns."""
    with tf.Graph().as_default() as once:
        value = v1.placeholder(tensor.dtype, None, _VALUE)
        others = [
            v1.placeholder(other.dtype, other.shape, f"{_SHARED}_{index}")
            for index, other in enumerate(shared)
        ]
        results = [str(result.name) for result in build(value, *others)]
    return once.as_graph_def(), results


def _copy(
    nodes: tf.compat.v1.GraphDef, scope: str, first: str, into: tf.compat.v1.GraphDef
) -> None:
    """`nodes` below `scope`; constants are there once, below `first`."""
    constants = {node.name for node in nodes.node if node.op == "Const"}

    def renamed(name: str) -> str:
        op = name.partition(":")[0]
        return name if op.startswith(_SHARED) else f"{first if op in constants else scope}/{name}"

    for node in nodes.node:
        if node.op != "Placeholder" and (scope == first or node.op != "Const"):
            copied: Any = into.node.add()
            copied.CopyFrom(node)
            copied.name = f"{scope}/{node.name}"
            copied.input[:] = [renamed(name) for name in node.input]
