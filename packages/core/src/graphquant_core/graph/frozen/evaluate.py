"""Values of tensors that depend on constants alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.frozen.session import cpu_session

v1 = tf.compat.v1


def evaluate_constants(
    graph: tf.Graph,
    tensors: Sequence[tf.Tensor],
    replaced: Mapping[str, npt.NDArray[Any]] | None = None,
) -> list[npt.NDArray[Any]]:
    """Values of `tensors` of the frozen `graph`, however each is computed from constants.

    Everything is evaluated in one session on the CPU, on a copy without control edges: those of a
    constant in the branch of a tf.cond lead to what is fed.

    Args:
        graph: The frozen graph.
        tensors: What to evaluate.
        replaced: Values that tensors of the graph have instead of their own, by tensor name.

    Raises:
        ModelFileError: A tensor needs more than constants.
    """
    if not tensors:
        return []
    names = [tensor.name for tensor in tensors]
    try:
        with tf.Graph().as_default() as copy:
            tf.import_graph_def(_data_nodes(graph, tensors), name="")
        with cpu_session(copy) as session:
            values = session.run(names, dict(replaced or {}))
    except (tf.errors.OpError, ValueError) as error:
        shown = ", ".join(f'"{name}"' for name in names[:5])
        raise ModelFileError(f"cannot evaluate the constants {shown} …: {error}") from error
    return [np.asarray(value) for value in values]


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
