"""Under which names an .mnn file holds the outputs of a graph."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, UnsupportedLayerError
from graphquant_core.suggestions import closest

logger = logging.getLogger(__name__)

_LEFT_OUT = frozenset({"BatchToSpaceND", "Identity"})


def mnn_output(graph: tf.Graph, output: str, tensors: Collection[str]) -> str:
    """Name in MNN of the output `output` of `graph`.

    MNN leaves Identities out, and makes one convolution of a dilated one, which TensorFlow has
    between SpaceToBatchND and BatchToSpaceND. The first tensor of an op is called as the op in
    MNN, the next one ``"op1"``.

    Args:
        graph: The graph that was converted.
        output: Name of an op in it.
        tensors: Names of the tensors in the .mnn file.

    Raises:
        ModelFileError: It isn't among `tensors`, or can't be told from another op.
    """
    tensor = graph.get_operation_by_name(output).outputs[0]
    while _name(tensor) not in tensors and tensor.op.type in _LEFT_OUT:
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
    """Refuses a model that lacks an output, which MNN merged with the op that takes it.

    An output that nothing takes is there; a warning names it when it isn't found.

    Args:
        graph: The graph that was converted.
        outputs: Names of its outputs.
        tensors: Names of the tensors in the .mnn file.

    Raises:
        UnsupportedLayerError: Names the output.
    """
    for output in outputs:
        problem = _problem(graph, output, tensors)
        if problem and _is_taken(graph.get_operation_by_name(output).outputs[0]):
            raise UnsupportedLayerError(
                f"{problem}: MNN merges a layer with the bias and the activation function behind "
                "it; export without that output"
            )
        if problem:
            logger.warning("%s under its name, so that it cannot be verified", problem)


def _is_taken(tensor: tf.Tensor) -> bool:
    """Whether some op takes `tensor`, or what is the same in MNN."""
    if tensor.consumers():
        return True
    while tensor.op.type in _LEFT_OUT:
        tensor = tensor.op.inputs[0]
        if len(tensor.consumers()) > 1:
            return True
    return False


def _problem(graph: tf.Graph, output: str, tensors: Collection[str]) -> str | None:
    try:
        mnn_output(graph, output, tensors)
    except ModelFileError as error:
        return str(error)
    return None


def _name(tensor: tf.Tensor) -> str:
    index = tensor.value_index
    return f"{tensor.op.name}{index}" if index else str(tensor.op.name)
