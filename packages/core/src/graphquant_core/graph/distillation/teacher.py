"""The float model, placed in the graph of another: constants below a scope of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, ModelFileError, UnknownNameError
from graphquant_core.graph.affine import FUSED_BATCH_NORM_TYPES
from graphquant_core.graph.frozen.bypassed import with_activations
from graphquant_core.graph.frozen.load import load_graph_def
from graphquant_core.graph.frozen.outputs import check_outputs
from graphquant_core.graph.frozen.session import cpu_session
from graphquant_core.graph.rewire import TEACHER, mark
from graphquant_core.graph.view import VARIABLE_TYPES
from graphquant_core.listing import brief_repr, listed
from graphquant_core.suggestions import closest

v1 = tf.compat.v1


def teacher_graph_def(
    teacher: object, outputs: Sequence[str], checkpoint: str | os.PathLike[str] | None
) -> tf.compat.v1.GraphDef:
    """The frozen graph of the outputs of `teacher`, with no devices in it.

    Raises:
        ConfigError: `teacher` is neither a graph nor a file, or trains; or `checkpoint` is missing
            or too much.
        OutputNotFoundError: It has no op of one of the names in `outputs`.
        ModelFileError: A file can't be read, or it isn't frozen.
    """
    if isinstance(teacher, tf.Graph):
        whole = _frozen(teacher, outputs, checkpoint)
    elif checkpoint is not None:
        raise ConfigError(
            f"checkpoint ({brief_repr(checkpoint)}) is for a teacher that is a tf.Graph"
        )
    elif isinstance(teacher, v1.GraphDef):
        whole = teacher
    elif isinstance(teacher, (str, os.PathLike)):
        whole = load_graph_def(teacher, "teacher")
    else:
        raise ConfigError(
            f"teacher ({type(teacher).__name__}) must be a frozen graph, its file, or a tf.Graph"
        )
    names = check_outputs(whole, outputs)
    needed = v1.graph_util.extract_sub_graph(with_activations(whole), list(names))
    for node in needed.node:
        node.device = ""
        if node.op in VARIABLE_TYPES:
            raise ModelFileError(
                f'teacher is not frozen: "{node.name}" is a variable; give the tf.Graph and its '
                "checkpoint, or what tf.compat.v1.graph_util.convert_variables_to_constants returns"
            )
        if node.op in FUSED_BATCH_NORM_TYPES and node.attr["is_training"].b:
            raise ConfigError(
                f'teacher: batch norm "{node.name}" takes the statistics of the batch: give the '
                "graph that is built for inference"
            )
    return needed


def place_teacher(
    graph: tf.Graph,
    frozen: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    inputs: Mapping[str, Any],
) -> list[str]:
    """Imports `frozen` into `graph`, where quantisers leave it alone; names of its outputs there.

    Args:
        graph: The graph.
        frozen: What `teacher_graph_def` returned.
        outputs: Names of its output ops.
        inputs: Tensors, names or values by the names of its inputs; others are called alike.

    Raises:
        ConfigError: An input is missing, or what is given for it doesn't fit.
        UnknownNameError: `inputs` names none.
    """
    nodes = {node.name: node for node in frozen.node if node.op.startswith("Placeholder")}
    named = {name.partition(":")[0]: value for name, value in inputs.items()}
    for name in named:
        if name not in nodes:
            raise UnknownNameError(
                f'inputs: the teacher has no input "{name}"{closest(name, nodes)}'
            )
    tensors = {}
    for name, node in nodes.items():
        if name in named:
            tensors[f"{name}:0"] = _fitting(graph, node, named[name])
        elif node.op == "Placeholder":  # one with a default says itself what inference feeds
            tensors[f"{name}:0"] = _fitting(graph, node, _called_alike(graph, node))
    try:
        placed = tf.import_graph_def(
            frozen, tensors, [f"{name}:0" for name in outputs], name="teacher"
        )
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ConfigError(f"teacher cannot be placed in the graph: {str(error)[:1000]}") from error
    scope = placed[0].op.name[: -len(outputs[0])]
    for node in frozen.node:
        mark(graph.get_operation_by_name(scope + node.name), TEACHER)
    return [tensor.op.name for tensor in placed]


def _frozen(
    graph: tf.Graph, outputs: Sequence[str], checkpoint: str | os.PathLike[str] | None
) -> tf.compat.v1.GraphDef:
    """`graph`, to which nothing is added, with the variables of `checkpoint` as constants."""
    if checkpoint is None:
        raise ConfigError("checkpoint (None): a teacher that is a tf.Graph needs its checkpoint")
    graph_def = graph.as_graph_def()
    names = list(check_outputs(graph_def, outputs))
    needed = {node.name for node in v1.graph_util.extract_sub_graph(graph_def, names).node}
    variables = graph.get_collection(v1.GraphKeys.GLOBAL_VARIABLES)
    try:
        reader = v1.train.load_checkpoint(os.fspath(checkpoint))
        values = [(v, reader.get_tensor(v.op.name)) for v in variables if v.op.name in needed]
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ModelFileError(
            f'checkpoint ("{checkpoint}") of the teacher cannot be read: {str(error)[:1000]}'
        ) from error
    with cpu_session(graph) as session:
        for variable, value in values:
            session.run(variable.initializer, {variable.initializer.inputs[1]: value})
        return v1.graph_util.convert_variables_to_constants(session, graph_def, names)


def _called_alike(graph: tf.Graph, node: tf.compat.v1.NodeDef) -> tf.Tensor:
    flag = node.attr["dtype"].type == tf.bool.as_datatype_enum
    if flag:
        raise ConfigError(
            f'the teacher\'s input "{node.name}" is a flag: say what it is for inference, as in '
            f'inputs={{"{node.name}": False}}'
        )
    try:
        return graph.get_tensor_by_name(f"{node.name}:0")
    except KeyError:
        own = [op.name for op in graph.get_operations() if op.type.startswith("Placeholder")]
        raise ConfigError(
            f'inputs: nothing in the graph is called like the teacher\'s input "{node.name}": give '
            f"its tensor or value; the graph's own inputs are {listed(own, nothing='none')}"
        ) from None


def _fitting(graph: tf.Graph, node: tf.compat.v1.NodeDef, given: Any) -> tf.Tensor:
    """`given` as a tensor of `graph`, for the input `node`."""
    dtype = tf.as_dtype(node.attr["dtype"].type)
    try:
        if isinstance(given, str):
            given = graph.get_tensor_by_name(given if ":" in given else f"{given}:0")
        tensor = tf.convert_to_tensor(given) if tf.is_tensor(given) else tf.constant(given, dtype)
    except (KeyError, ValueError, TypeError) as error:
        reason = error.args[0] if error.args else error
        raise ConfigError(f'inputs["{node.name}"] ({brief_repr(given)}): {reason}') from error
    wanted = tf.TensorShape(node.attr["shape"].shape)
    known = wanted.rank is not None and tensor.shape.rank is not None
    # A batch of another size is the user's to try; TensorFlow says where a size is written down.
    fits = not known or wanted[1:].is_compatible_with(tensor.shape[1:])
    if known and wanted.rank != tensor.shape.rank:
        fits = False
    if tensor.dtype.base_dtype != dtype or not fits or tensor.graph is not graph:
        raise ConfigError(
            f'the teacher\'s input "{node.name}" is {dtype.name} {wanted}, but "{tensor.name}" is '
            f"{tensor.dtype.name} {tensor.shape}"
        )
    return tensor
