"""Frozen graphs from disk."""

from __future__ import annotations

import os

import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from graphquant_core.exceptions import ModelFileError
from graphquant_core.files import read_bytes
from graphquant_core.graph.frozen.bypassed import with_activations
from graphquant_core.graph.frozen.updates import without_updates

_LONGEST_REASON = 1000
"""Characters that TensorFlow and protobuf may say; they quote the line or the node."""


def load_graph_def(
    path: str | os.PathLike[str], argument: str = "pb_model"
) -> tf.compat.v1.GraphDef:
    """The GraphDef in the file at `path`: text when its name ends in ``.pbtxt``, else binary.

    What training would assign to its constants is left out, as `without_updates` says.

    Raises:
        ModelFileError: The file can't be read, or holds no GraphDef; names `argument`.
    """
    content = read_bytes(path, argument)
    graph_def = tf.compat.v1.GraphDef()
    try:
        if os.fspath(path).endswith(".pbtxt"):
            text_format.Parse(content.decode(), graph_def)
        else:
            graph_def.ParseFromString(content)
    except (DecodeError, text_format.ParseError, ValueError, RecursionError) as error:
        reason = str(error)[:_LONGEST_REASON]
        raise ModelFileError(f"{argument} ({path}) is not a GraphDef: {reason}") from error
    if not graph_def.node or not all(node.name and node.op for node in graph_def.node):
        raise ModelFileError(
            f"{argument} ({path}) is not a GraphDef with nodes: give the .pb of a frozen graph, "
            "not a SavedModel or a checkpoint"
        )
    return without_updates(graph_def)


def import_frozen(graph_def: tf.compat.v1.GraphDef) -> tf.Graph:
    """A new tf.Graph with the nodes of `graph_def` under their own names.

    Raises:
        ModelFileError: TensorFlow refuses the nodes, or one of them is a variable.
    """
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(with_activations(graph_def), name="")
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        reason = str(error)[:_LONGEST_REASON]
        raise ModelFileError(f"the model cannot be imported: {reason}") from error
    for op in graph.get_operations():
        if op.type in ("VariableV2", "Variable", "VarHandleOp"):
            raise ModelFileError(
                f'the model is not frozen: "{op.name}" is a variable; freeze it with '
                "tf.compat.v1.graph_util.convert_variables_to_constants"
            )
    return graph
