"""Checks that the four calls make on their arguments before they change anything."""

from __future__ import annotations

import os
from pathlib import Path

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, NoLayersError


def check_graph(graph: object) -> tf.Graph:
    """`graph`, if it is a tf.Graph with ops in it.

    Raises:
        ConfigError: It isn't a tf.Graph.
        NoLayersError: It is empty.
    """
    if not isinstance(graph, tf.Graph):
        raise ConfigError(f"graph ({type(graph).__name__}) must be a tf.Graph")
    if not graph.get_operations():
        raise NoLayersError("graph is empty: build the model in it first")
    return graph


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether a file stands at `path`, which a call is about to overwrite."""
    return Path(path).exists()
