"""The float model that teaches, as a frozen graph, whatever form it is given in."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, ModelFileError
from graphquant_core.graph.affine import FUSED_BATCH_NORM_TYPES
from graphquant_core.graph.frozen.bypassed import with_activations
from graphquant_core.graph.frozen.load import load_graph_def
from graphquant_core.graph.frozen.outputs import check_outputs
from graphquant_core.graph.frozen.session import cpu_session
from graphquant_core.graph.view import VARIABLE_TYPES
from graphquant_core.listing import brief_repr

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
