"""Values of tensors that depend on constants alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.frozen.session import cpu_session
from graphquant_core.listing import listed_names

v1 = tf.compat.v1

_SMALL = 4096
"""Bytes of a constant that costs no more where it is than to be fed."""


def evaluate_constants(
    graph: tf.Graph,
    tensors: Sequence[tf.Tensor],
    replaced: Mapping[str, npt.NDArray[Any]] | None = None,
    graph_def: tf.compat.v1.GraphDef | None = None,
) -> list[npt.NDArray[Any]]:
    """Values of `tensors` of the frozen `graph`, however each is computed from constants.

    What isn't a constant itself is evaluated in one session on the CPU, as it is written, on a copy
    without control edges: those of a constant in the branch of a tf.cond lead to what is fed.

    Args:
        graph: The frozen graph.
        tensors: What to evaluate.
        replaced: Values that tensors of the graph have instead of their own, by tensor name.
        graph_def: The same graph as nodes, where there is one, to save asking for it.

    Raises:
        ModelFileError: A tensor needs more than constants.
    """
    replaced = dict(replaced or {})
    constants = [_constant(tensor, replaced) for tensor in tensors]
    held = {op.name: tf.make_ndarray(op.get_attr("value")) for op in constants if op is not None}
    computed = [x for x, op in zip(tensors, constants, strict=True) if op is None]
    found = iter(_run(graph, computed, replaced, held, graph_def) if computed else ())
    return [np.asarray(next(found) if op is None else held[op.name]) for op in constants]


def _constant(tensor: tf.Tensor, replaced: Mapping[str, npt.NDArray[Any]]) -> tf.Operation | None:
    """The constant that `tensor` is the value of, maybe behind Identity ops."""
    while tensor.name not in replaced:
        if tensor.op.type != "Identity":
            return tensor.op if tensor.op.type == "Const" else None
        tensor = tensor.op.inputs[0]
    return None


def _run(
    graph: tf.Graph,
    tensors: Sequence[tf.Tensor],
    replaced: Mapping[str, npt.NDArray[Any]],
    held: Mapping[str, npt.NDArray[Any]],
    graph_def: tf.compat.v1.GraphDef | None,
) -> list[npt.NDArray[Any]]:
    names = [tensor.name for tensor in tensors]
    nodes, fed = _data_nodes(graph_def or graph.as_graph_def(), tensors, held)
    try:
        with tf.Graph().as_default() as copy:
            tf.import_graph_def(nodes, name="")
        # Each op runs once: folding constants beforehand would be the same work, on one core.
        with cpu_session(copy, rewritten=False) as session:
            values: list[npt.NDArray[Any]] = session.run(names, {**fed, **replaced})
    except (tf.errors.OpError, ValueError) as error:
        shown = listed_names(names)
        raise ModelFileError(f"cannot evaluate the constants {shown}: {error}") from error
    return values


def _data_nodes(
    graph_def: tf.compat.v1.GraphDef,
    tensors: Sequence[tf.Tensor],
    held: Mapping[str, npt.NDArray[Any]],
) -> tuple[tf.compat.v1.GraphDef, dict[str, npt.NDArray[Any]]]:
    """What `tensors` need, and the values of the large constants among it, which are to be fed.

    `held` has the values of constants that were read before, by name.
    """
    needed = {tensor.op.name for tensor in tensors}
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor.op.name not in needed:
                needed.add(tensor.op.name)
                waiting.append(tensor.op)
    result = v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    fed: dict[str, npt.NDArray[Any]] = {}
    for node in graph_def.node:
        if node.name not in needed:
            continue
        copied = result.node.add()
        if _is_large(node):
            tensor = node.attr["value"].tensor
            copied.name, copied.op = node.name, "Placeholder"
            copied.attr["dtype"].type = tensor.dtype
            copied.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
            known = held.get(node.name)
            fed[f"{node.name}:0"] = tf.make_ndarray(tensor) if known is None else known
        else:
            copied.CopyFrom(node)
            copied.input[:] = [name for name in node.input if not name.startswith("^")]
            copied.attr.pop("_class", None)
    return result, fed


def _is_large(node: tf.compat.v1.NodeDef) -> bool:
    if node.op != "Const" or node.attr["dtype"].type != tf.float32.as_datatype_enum:
        return False
    return len(node.attr["value"].tensor.tensor_content) > _SMALL
