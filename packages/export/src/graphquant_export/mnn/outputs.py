"""Under which names an .mnn file holds the outputs of a graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, UnsupportedLayerError
from graphquant_core.suggestions import closest


def mnn_output(graph: tf.Graph, output: str, tensors: Collection[str]) -> str:
    """Name in MNN of the output `output` of `graph`: without the Identities that MNN leaves out.

    The first tensor of an op is called as the op in MNN, the next one ``"op1"``.

    Args:
        graph: The graph that was converted.
        output: Name of an op in it.
        tensors: Names of the tensors in the .mnn file.

    Raises:
        ModelFileError: It isn't among `tensors`, or can't be told from another op.
    """
    tensor = graph.get_operation_by_name(output).outputs[0]
    while _name(tensor) not in tensors and tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    name = _name(tensor)
    if name not in tensors:
        raise ModelFileError(f'output "{output}" is not in the MNN model{closest(output, tensors)}')
    if tensor.value_index and any(op.name == name for op in graph.get_operations()):
        raise ModelFileError(
            f'output "{output}" has the name "{name}" in MNN, which another op has, too'
        )
    return name


def check_outputs_kept(graph: tf.Graph, outputs: Iterable[str], tensors: Collection[str]) -> None:
    """Refuses a model that lacks an output, which MNN merged with an op that takes it.

    Args:
        graph: The graph that was converted.
        outputs: Names of its outputs.
        tensors: Names of the tensors in the .mnn file.

    Raises:
        UnsupportedLayerError: Names the output.
    """
    try:
        for output in outputs:
            mnn_output(graph, output, tensors)
    except ModelFileError as error:
        raise UnsupportedLayerError(
            f"{error}: MNN merges a layer with the bias and the activation function behind it; "
            "export without that output"
        ) from error


def _name(tensor: tf.Tensor) -> str:
    index = tensor.value_index
    return f"{tensor.op.name}{index}" if index else str(tensor.op.name)
