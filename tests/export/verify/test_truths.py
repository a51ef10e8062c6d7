"""`GraphRunner`: the graphs that an artifact is held against."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_export.verification.truths import GraphRunner


def test_what_tensorflow_fails_on_is_told_in_one_line() -> None:
    """Its own message has several, with a place in a script that the user doesn't have."""
    with tf.Graph().as_default() as graph:
        left, right = (
            tf.compat.v1.placeholder(tf.float32, [None, 2], name) for name in ("left", "right")
        )
        tf.concat([left, right], 1, name="joined")
    feeds = {"left:0": np.ones((4, 2), np.float32), "right:0": np.ones((3, 2), np.float32)}
    with pytest.raises(ModelFileError, match=r"the model cannot be run: .*ConcatOp") as raised:
        GraphRunner(graph.as_graph_def()).run(["joined"], feeds)
    assert "\n" not in str(raised.value)
