"""A join of integers and floats is rounded by each of those who take it, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import graphquant_export as gq
from graphquant_export.inputs.loaded_model import LoadedModel

v1 = tf.compat.v1
FADING = np.linspace(1, 0.3, 9)[:, None, None]
SAMPLES = {"x": (np.random.default_rng(0).normal(size=(16, 9, 9, 8)) * FADING).astype(np.float32)}
TAKEN: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "a part": lambda joined: joined[:, 4:],
    "pooled": lambda joined: tf.nn.max_pool2d(joined[:, 4:], 3, 1, "VALID"),
}


def convolution(x: tf.Tensor, size: int, name: str) -> tf.Tensor:
    channels = int(x.shape[-1])
    random = np.random.default_rng([size, *name.encode()])
    weight = random.normal(size=(size, size, channels, 8)) * np.sqrt(2 / (size**2 * channels))
    return tf.nn.conv2d(x, weight.astype(np.float32), 1, "SAME", name=name)


def model(taken: str) -> LoadedModel:
    """Two layers take a join, one of whose parts is a sum with a pooling that LiteRT has in float.

    What the second takes of it has another range.
    """
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 9, 9, 8], "x")
        first, second = (convolution(x, 3, f"{k}1") + convolution(x, 1, f"{k}2") for k in "ab")
        pooled = tf.nn.avg_pool2d(first, 3, 1, "SAME", name="pool") + convolution(x, 1, "c")
        joined = tf.nn.relu(tf.concat([first, second, pooled], -1))
        ends = [convolution(joined, 1, "whole"), convolution(TAKEN[taken](joined), 1, "part")]
        tf.add_n([tf.reduce_sum(end, [1, 2]) for end in ends], name="y")
    return LoadedModel(graph.as_graph_def(), ("x",), ("y",))


@pytest.mark.parametrize("taken", sorted(TAKEN))
def test_takers_with_other_grids_get_the_join_unrounded(taken: str, tmp_path: Path) -> None:
    """The file's integers are those of the plan: none was rounded for another layer before."""
    network = model(taken)
    record = gq.quantize(network, SAMPLES, "litert")
    assert record["whole"].scale_d != record["part"].scale_d
    artifact = gq.export(network, record, "litert", tmp_path / "m")
    found = gq.verify(artifact, SAMPLES, layers=True)
    executions = {row.layer: row.execution for row in found.executions}
    assert executions.pop("pool") == "float"
    assert set(executions.values()) == {"int8"}
    for layer in found.layers:
        assert layer.own is not None
        assert layer.own.mean < 0.01, layer.layer
