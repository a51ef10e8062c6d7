"""What outputs are, and the measures of how far answers are apart: against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.distillation import (
    LOGITS,
    SCORES,
    VALUES,
    Output,
    describe_outputs,
    distance,
)
from graphquant_core.graph.frozen import import_frozen
from graphquant_tune.quality import FloatAnswers
from graphquant_tune.samples import Samples

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def divergence(t, s):
    """T² KL(softmax(t / T) || softmax(s / T)), T = 2, the mean over the rows."""
    p, q = softmax(t / 2), softmax(s / 2)
    return 4 * np.mean(np.sum(p * np.log(p / q), -1))


def relative(t, s):
    return np.sum((t - s) ** 2) / np.sum((t - t.mean(0)) ** 2)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (SCORES, divergence),
        (VALUES, relative),
        (LOGITS, lambda t, s: divergence(t, s) + relative(t, s)),
    ],
)
def test_distances_are_those_of_float64(kind, wanted):
    """And 0 for equal answers."""
    t, s = (RANDOM.normal(size=(7, 5)) * 3 for _ in range(2))
    with tf.Graph().as_default(), v1.Session() as session:
        output, teacher = Output("y", kind, "y:0"), tf.constant(t, tf.float32)
        distances = [distance(output, teacher, tf.constant(x, tf.float32)) for x in (s, t)]
        found, nothing = session.run(distances)
    assert found == pytest.approx(wanted(t, s), rel=1e-4)
    assert nothing == pytest.approx(0, abs=1e-6)


def test_answers_that_are_no_numbers_are_infinitely_far():
    """NaN and infinity, in one batch of many: never nearer than any other model."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 3], "x")
        tf.add(x, 0.0, name="y")
    samples = Samples(graph, {"x": RANDOM.normal(size=(32, 3)).astype(np.float32)}, 8)
    for bad in (np.nan, np.inf, -np.inf):
        with tf.Graph().as_default() as other:
            x = v1.placeholder(tf.float32, [None, 3], "x")
            tf.add(x, tf.where(x > 1.5, bad, 0.0), name="y")
        found = FloatAnswers(graph.as_graph_def(), ["y"], samples).quality(other.as_graph_def())
        assert (found.distance, found.sqnr) == (np.inf, -np.inf)


def test_outputs_are_what_the_graph_says():
    """Scores behind a softmax, also a named one; logits of a layer; all else, one class too."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4], "x")
        logits = tf.matmul(x, tf.ones([4, 3]), name="logits")
        tf.identity(tf.nn.softmax(logits), name="scores")
        tf.quantization.fake_quant_with_min_max_args(tf.nn.softmax(logits), 0, 1, name="rounded")
        tf.matmul(x, tf.ones([4, 1]), name="one")
        tf.nn.relu(logits, name="image")
        tf.argmax(logits, 1, name="class")
    names = ["logits", "scores", "rounded", "one", "image", "class"]
    found = {
        output.name: (output.kind, output.compared) for output in describe_outputs(graph, names)
    }
    assert found == {
        "logits": (LOGITS, "logits:0"),
        "scores": (SCORES, "logits:0"),
        "rounded": (SCORES, "logits:0"),
        "one": (VALUES, "one:0"),
        "image": (VALUES, "image:0"),
    }


def model(weight, last="softmax"):
    with tf.Graph().as_default() as graph:
        y = tf.matmul(v1.placeholder(tf.float32, [None, 4], "x"), weight, name="dense")
        if last == "softmax":
            tf.nn.softmax(y, name="y")
        elif last == "class":
            tf.argmax(y, 1, name="y")
        else:
            tf.nn.relu(y, name="y")
    return graph.as_graph_def()


@pytest.mark.parametrize("last", ["softmax", "relu"])
def test_a_quality_is_that_of_float64(last):
    """The same ratio in dB, the same share of equal classes; no classes, no agreement."""
    first = RANDOM.normal(size=(4, 3)).astype(np.float32)
    second = (first + 0.3 * RANDOM.normal(size=(4, 3))).astype(np.float32)
    x = RANDOM.normal(size=(96, 4)).astype(np.float32)
    samples = Samples(import_frozen(model(first, last)), {"x": x}, 32)
    found = FloatAnswers(model(first, last), ["y"], samples).quality(model(second, last))
    t, s = (x.astype(np.float64) @ weight for weight in (first, second))
    if last == "relu":
        t, s = np.maximum(t, 0), np.maximum(s, 0)
    ratio = 10 * np.log10(np.sum(t**2) / np.sum((t - s) ** 2))
    assert found.sqnr == pytest.approx(ratio, abs=1e-2)
    same = np.mean(t.argmax(1) == s.argmax(1))
    assert 0.5 < same < 1
    assert found.agreement == (None if last == "relu" else pytest.approx(same, abs=1e-6))
    alike = FloatAnswers(model(first, last), ["y"], samples).quality(model(first, last))
    assert (alike.distance, alike.sqnr) == (pytest.approx(0, abs=1e-6), np.inf)


def test_a_model_without_floats_cannot_be_compared():
    """The error says so."""
    weight = np.ones((4, 3), np.float32)
    samples = Samples(import_frozen(model(weight, "class")), {"x": np.ones((9, 4), "f4")})
    with pytest.raises(ConfigError, match="no output of floats"):
        FloatAnswers(model(weight, "class"), ["y"], samples).quality(model(weight, "class"))
