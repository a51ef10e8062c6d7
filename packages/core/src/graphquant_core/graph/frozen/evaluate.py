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


def evaluate_constants(
    graph: tf.Graph,
    tensors: Sequence[tf.Tensor],
    replaced: Mapping[str, npt.NDArray[Any]] | None = None,
) -> list[npt.NDArray[Any]]:
    """Values of `tensors` of the frozen `graph`, however each is computed from constants.

    What isn't a constant itself is evaluated in one session on the CPU, as it is written, on a copy
    without control edges: those of a constant in the branch of a tf.cond lead to what is fed.

    Args:
        graph: The frozen graph.
        tensors: What to evaluate.
        replaced: Values that tensors of the graph have instead of their own, by tensor name.

    Raises:
        ModelFileError: A tensor needs more than constants.
    """
    replaced = dict(replaced or {})
    held = [_held(tensor, replaced) for tensor in tensors]
    computed = [x for x, value in zip(tensors, held, strict=True) if value is None]
    found = iter(_run(graph, computed, replaced) if computed else ())
    return [np.asarray(next(found) if value is None else value) for value in held]


def _held(tensor: tf.Tensor, replaced: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any] | None:
    """The value of a constant, maybe behind Identity ops; ``None`` for anything else."""
    while tensor.name not in replaced:
        if tensor.op.type == "Const":
            value: npt.NDArray[Any] = tf.make_ndarray(tensor.op.get_attr("value"))
            return value
        if tensor.op.type != "Identity":
            return None
        tensor = tensor.op.inputs[0]
    return None


def _run(
    graph: tf.Graph, tensors: Sequence[tf.Tensor], replaced: Mapping[str, npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    names = [tensor.name for tensor in tensors]
    try:
        with tf.Graph().as_default() as copy:
            tf.import_graph_def(_data_nodes(graph, tensors), name="")
        # Each op runs once: folding constants beforehand would be the same work, on one core.
        with cpu_session(copy, rewritten=False) as session:
            values: list[npt.NDArray[Any]] = session.run(names, replaced)
    except (tf.errors.OpError, ValueError) as error:
        shown = listed_names(names)
        raise ModelFileError(f"cannot evaluate the constants {shown}: {error}") from error
    return values


def _data_nodes(graph: tf.Graph, tensors: Sequence[tf.Tensor]) -> tf.compat.v1.GraphDef:
    needed = {tensor.op.name for tensor in tensors}
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor.op.name not in needed:
                needed.add(tensor.op.name)
                waiting.append(tensor.op)
    graph_def = graph.as_graph_def()
    result = v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name in needed:
            copied = result.node.add()
            copied.CopyFrom(node)
            copied.input[:] = [name for name in node.input if not name.startswith("^")]
            copied.attr.pop("_class", None)
    return result
