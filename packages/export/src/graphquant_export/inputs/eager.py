"""SavedModels and Keras models are loaded in eager mode."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from graphquant_core.exceptions import GraphStateError


@contextlib.contextmanager
def in_eager_mode(argument: str) -> Iterator[None]:
    """Leaves the graph that the caller builds, if any, for as long as the context lasts.

    Raises:
        GraphStateError: Eager execution is switched off; names `argument`.
    """
    with tf.init_scope():
        if not tf.executing_eagerly():
            raise GraphStateError(
                f"{argument} is loaded in eager mode, which tf.compat.v1.disable_eager_execution() "
                "or disable_v2_behavior() has switched off: load it in a process without"
            )
        yield
