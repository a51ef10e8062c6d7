"""The range of scores of which the largest decides holds the largest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import graphquant_export as gq
from graphquant_core.registry import load_registry
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.post_training import quantize_post_training

v1 = tf.compat.v1
CLASSES = 1000
SAMPLES = {"x": np.random.default_rng(1).normal(size=(64, 1, 1, 32)).astype(np.float32)}
HEADS = {
    "softmax": tf.nn.softmax,
    "moved": lambda x: tf.nn.softmax(tf.identity(tf.reshape(x[:, ::-1], [-1, 2, CLASSES // 2]))),
    "log_softmax": tf.nn.log_softmax,
    "argmax": lambda x: tf.argmax(x, -1),
    "top_k": lambda x: tf.nn.top_k(x, 5).values,
    "sigmoid": tf.nn.sigmoid,
    "none": tf.identity,
}


def model(head: str) -> tuple[v1.GraphDef, str]:
    """A convolution to scores that are distributed normally; and the tensor of these."""
    weight = np.random.default_rng(0).normal(size=(1, 1, 32, CLASSES)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 1, 1, 32], "x")
        scores = tf.nn.conv2d(x, weight, 1, "SAME", name="scores")
        tf.identity(HEADS[head](tf.squeeze(scores, [1, 2])), "y")
    return graph.as_graph_def(), scores.name


def run(graph_def: v1.GraphDef, tensor: str) -> np.ndarray:
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return np.asarray(session.run(tensor, {"x:0": SAMPLES["x"]}))


@pytest.mark.parametrize("head", sorted(HEADS))
def test_no_top_score_is_cut_off(head: str) -> None:
    """Only where a softmax, an argmax or the like takes them; the lower end is the estimator's."""
    graph_def, scores = model(head)
    record = quantize_post_training(graph_def, ["y"], SAMPLES, target="onnx", equalize=False)
    (grid,) = record.value_grids.values()
    low, high = ((code - grid.zero_point) * grid.scale for code in (-128, 127))
    values = run(graph_def, scores)
    step = grid.scale
    assert low > values.min() + step
    if head in ("sigmoid", "none"):
        assert high < values.max() - step
    else:
        assert abs(high - values.max()) <= step


@pytest.mark.parametrize("target", ["onnx", "litert", "mnn"])
def test_probabilities_keep_what_eight_bits_can(target: str, tmp_path: Path) -> None:
    """The file's are as near to the float model's as those of scores rounded over all of them."""
    graph_def, scores = model("softmax")
    network = LoadedModel(graph_def, ("x",), ("y",))
    record = gq.quantize(network, SAMPLES, target)
    artifact = gq.export(network, record, target, tmp_path / "m")
    found = load_registry().exporter(target).runtime(artifact).run(SAMPLES, ["y"])["y"]
    values = run(graph_def, scores).reshape(-1, CLASSES)
    step = np.ptp(values) / 255
    rounded = np.exp(np.rint(values / step) * step)
    wanted = run(graph_def, "y:0")
    limit = np.square(rounded / rounded.sum(-1, keepdims=True) - wanted).sum()
    assert np.square(found - wanted).sum() < 4 * limit
