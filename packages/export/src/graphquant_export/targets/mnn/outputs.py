"""Under which names an .mnn file holds the outputs of a graph."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, UnsupportedLayerError
from graphquant_core.suggestions import closest
from graphquant_export.targets.mnn.model_file import MnnModel
from graphquant_export.targets.mnn.op_names import MATMUL_ENDING, RESHAPING_TYPES

logger = logging.getLogger(__name__)

_LEFT_OUT = frozenset({"BatchToSpaceND", "Identity"})


def mnn_output(graph: tf.Graph, output: str, model: MnnModel) -> str:
    """Name in MNN of the output `output` of `graph`.

    MNN leaves Identities out, and makes one convolution of a dilated one, which TensorFlow has
    between SpaceToBatchND and BatchToSpaceND. The first tensor of an op is called as the op in
    MNN, the next one ``"op1"``.

    Args:
        graph: The graph that was converted.
        output: Name of an op in it.
        model: What the .mnn file holds.

    Raises:
        ModelFileError: It isn't in the model, or can't be told from another op.
    """
    tensor = graph.get_operation_by_name(output).outputs[0]
    while not _holds(model, tensor) and tensor.op.type in _LEFT_OUT:
        tensor = tensor.op.inputs[0]
    name = _name(tensor)
    if not _holds(model, tensor):
        known = closest(output, model.tensors)
        raise ModelFileError(f'output "{output}" is not in the MNN model{known}')
    if tensor.value_index and any(op.name == name for op in graph.get_operations()):
        raise ModelFileError(
            f'output "{output}" has the name "{name}" in MNN, which another op has, too'
        )
    return name


def _holds(model: MnnModel, tensor: tf.Tensor) -> bool:
    """Whether the model has a tensor with the name and the values of `tensor`."""
    name = _name(tensor)
    if name in model.tensors:
        return True
    op = tensor.op
    while op.type in RESHAPING_TYPES:
        op = op.inputs[0].op
    # What has overtaken the op may return the values that it takes.
    return model.misnamed.get(name) in (op.name, f"{op.name}{MATMUL_ENDING}")


def check_outputs_kept(graph: tf.Graph, outputs: Iterable[str], model: MnnModel) -> None:
    """Refuses a model that lacks an output, which MNN merged or exchanged with what takes it.

    An output that nothing takes is there; a warning names it when it isn't found.

    Args:
        graph: The graph that was converted.
        outputs: Names of its outputs.
        model: What the .mnn file holds.

    Raises:
        UnsupportedLayerError: Names the output.
    """
    for output in outputs:
        problem = _problem(graph, output, model)
        if problem and _is_taken(graph.get_operation_by_name(output).outputs[0]):
            raise UnsupportedLayerError(
                f"{problem}: MNN merges a layer with the bias and the activation function behind "
                "it, or computes what is behind a MatMul before it brings it to another shape; "
                "export without that output"
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


def _problem(graph: tf.Graph, output: str, model: MnnModel) -> str | None:
    try:
        mnn_output(graph, output, model)
    except ModelFileError as error:
        return str(error)
    return None


def _name(tensor: tf.Tensor) -> str:
    index = tensor.value_index
    return f"{tensor.op.name}{index}" if index else str(tensor.op.name)
