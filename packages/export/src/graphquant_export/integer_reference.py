"""The exact truth about a graph of integers, run on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.frozen import check_outputs, cpu_session, import_frozen, tensor_name
from graphquant_core.registry import load_registry
from graphquant_export.quantized.exact_form import EXACT_OPS
from graphquant_export.quantized.exact_sums import IntegerOps, exact_sums


def integer_reference(
    graph_def: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    feeds: Mapping[str, npt.ArrayLike],
) -> list[npt.NDArray[Any]]:
    """Value of each of `outputs`, with exact sums in every quantised layer.

    Args:
        graph_def: ``<save_path>_quantized.pb`` or ``<save_path>_deploy.pb``, or the graph of
            integers of a simulation, `SimulatedGraph.exact`; of another target whose files are
            TensorFlow graphs, one with the ops that its exporter says as ``integer_ops``.
        outputs: Names of the ops whose first output is wanted.
        feeds: Value of each placeholder, by name (``"x"`` or ``"x:0"``).

    Raises:
        OutputNotFoundError: An output is not in the graph.
        ModelFileError: The graph has no quantised layer, or an op that sums integers doesn't run
            in float64.
    """
    names = check_outputs(graph_def, outputs)
    ops = _integer_ops(graph_def)
    graph = import_frozen(exact_sums(graph_def, names, ops))
    fed = {f"{tensor_name(name)}:0": np.asarray(value) for name, value in feeds.items()}
    try:
        with cpu_session(graph) as session:
            values = session.run([f"{tensor_name(name)}:0" for name in outputs], fed)
    except tf.errors.OpError as error:
        # There is no kernel, or there is one that refuses.
        if not isinstance(error, tf.errors.UnimplementedError) and "OpKernel" not in error.message:
            raise
        raise ModelFileError(f"the graph does not run in float64: {error.message}") from error
    return [np.asarray(value) for value in values]


def _integer_ops(graph_def: tf.compat.v1.GraphDef) -> IntegerOps:
    types = {node.op for node in graph_def.node}
    if types & EXACT_OPS.sources:
        return EXACT_OPS
    for exporter in load_registry().exporters.values():
        ops: IntegerOps | None = getattr(exporter, "integer_ops", None)
        if ops is not None and types & ops.sources:
            return ops
    raise ModelFileError(
        "the graph has no quantised layer: give a <save_path>_quantized.pb, or the exact graph of "
        "a simulation"
    )
