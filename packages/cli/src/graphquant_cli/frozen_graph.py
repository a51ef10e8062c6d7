"""Read a frozen graph from a file. TensorFlow is imported when a graph is loaded, not before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from graphquant_core.exceptions import MissingDependencyError, ModelFileError
from graphquant_core.files import read_bytes

if TYPE_CHECKING:
    import tensorflow as tf


def load_frozen_graph(path: Path) -> tf.Graph:
    """The graph in the file at `path`, a binary GraphDef.

    Raises:
        MissingDependencyError: TensorFlow is not installed.
        ModelFileError: The file cannot be read, or is not a GraphDef that TensorFlow can import.
    """
    content = read_bytes(path, "MODEL.pb")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            'TensorFlow is not installed; install it with: pip install "tensorflow>=2.16,<2.22"'
        ) from error
    from google.protobuf.message import DecodeError

    graph_def = tf.compat.v1.GraphDef()
    graph = tf.Graph()
    try:
        graph_def.ParseFromString(content)
        with graph.as_default():
            tf.graph_util.import_graph_def(graph_def, name="")
    except DecodeError as error:
        raise ModelFileError(f"MODEL.pb ({path}) is not a binary GraphDef") from error
    except (ValueError, tf.errors.OpError) as error:
        raise ModelFileError(f"MODEL.pb ({path}) cannot be imported: {error}") from error
    if not graph_def.node:
        raise ModelFileError(
            f"MODEL.pb ({path}) holds no ops; a SavedModel has to be frozen to a GraphDef first"
        )
    return graph
