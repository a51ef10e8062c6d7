"""Dropout whose rate is 0 once its input has a value."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_export.inputs import load_model

v1 = tf.compat.v1

X = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)


def _of_today(x: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
    return v1.nn.dropout(x, keep_prob=keep)


def _of_1_15(x: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
    rate = 1 - keep
    drawn = v1.raw_ops.RandomUniform(shape=tf.shape(x), dtype=tf.float32)
    drawn = drawn * (tf.constant(1.0) - tf.constant(0.0)) + tf.constant(0.0)
    return x * (1 / (1 - rate)) * tf.cast(drawn >= rate, tf.float32)


def _of_1_4(x: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
    drawn = v1.raw_ops.RandomUniform(shape=tf.shape(x), dtype=tf.float32)
    return tf.divide(x, keep) * tf.floor(keep + drawn)


@pytest.mark.parametrize("dropout", [_of_today, _of_1_15, _of_1_4])
@pytest.mark.parametrize("keep", [1, 0.5])
def test_what_keeps_everything_is_gone(tmp_path, dropout, keep):
    """And nothing else: with a rate above 0 it still draws."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 7], "x")
        y = dropout(tf.exp(x), v1.placeholder(tf.float32, [], "keep_prob"))
        tf.identity(y * 2.0, name="out")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    model = load_model(tmp_path / "m.pb", ["out"], input_values={"keep_prob": keep})
    draws = any(node.op == "RandomUniform" for node in model.graph_def.node)
    assert draws == (keep < 1)
    with v1.Session(graph=model.graph()) as session:
        found = session.run("out:0", {"x:0": X})
    expected = np.exp(X) * 2
    if draws:
        assert 0 < np.mean(found == 0) < 1
        expected = np.where(found == 0, 0, expected / keep)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_broadcast_is_not_taken_for_dropout(tmp_path):
    """A row that is multiplied with a matrix of ones becomes a matrix."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [1, 7], "x")
        drawn = v1.raw_ops.RandomUniform(shape=[5, 7], dtype=tf.float32)
        tf.multiply(x, tf.cast(drawn >= tf.constant(0.0), tf.float32), name="out")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    model = load_model(tmp_path / "m.pb")
    with v1.Session(graph=model.graph()) as session:
        assert session.run("out:0", {"x:0": X[:1]}).shape == (5, 7)
