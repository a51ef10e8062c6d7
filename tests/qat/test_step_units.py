"""Weights of a rewritten graph that are trained in steps of their grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.exceptions import ConfigError, FinalizedGraphError, GraphStateError

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)
RATIO = 60.0
# Output channels whose weights differ by a factor of a thousand; the last one is dead.
SIZES = np.array([0.01, 0.1, 1, 10, 0])
KERNEL = (RANDOM.normal(size=(3, 3, 2, 5)) * SIZES).astype(np.float32)
DEPTHWISE = RANDOM.normal(size=(3, 3, 5, 2)).astype(np.float32)
X = RANDOM.normal(size=(4, 6, 6, 2)).astype(np.float32)
LABELS = np.arange(8) % 4
BATCHES = [RANDOM.normal(size=(8, 8, 8, 3)) for _ in range(6)]


def rewrite(graph: tf.Graph, folder: Path, text: str = "") -> list[Any]:
    config_file = str(folder / "config.json")
    (folder / "short.cfg").write_text(text)
    amct.create_quant_retrain_config(config_file, graph, str(folder / "short.cfg"))
    return amct.create_quant_retrain_model(graph, config_file, str(folder / "record.txt"))


class Training:
    """A convolution, a depthwise one by the same rules, and a bias."""

    def __init__(self, folder: Path, optimizer: Any, text: str = "") -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            x = v1.placeholder(tf.float32, [None, 6, 6, 2], "x")
            kernel = v1.get_variable("kernel", initializer=KERNEL)
            y = tf.nn.conv2d(x, kernel, 1, "SAME", name="conv")
            depthwise = v1.get_variable("depthwise", initializer=DEPTHWISE)
            y = tf.nn.depthwise_conv2d(tf.sin(y), depthwise, [1] * 4, "SAME", name="dw")
            bias = v1.get_variable("bias", initializer=np.zeros(10, np.float32))
            loss = tf.reduce_mean(tf.square(tf.sin(tf.nn.bias_add(y, bias) + 1)))
            rewrite(self.graph, folder, text)
            self.variables = [kernel, depthwise, bias]
            self.gradients = tf.gradients(loss, self.variables)
            wrapped = amct.in_step_units(optimizer, ratio=RATIO)
            self.step = wrapped.minimize(loss, var_list=self.variables)
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())
            self.session.run(self.gradients, {"x:0": X})

    def train(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(what the variables moved by, their gradients before)."""
        before = self.session.run(self.variables)
        gradients = self.session.run(self.gradients, {"x:0": X})
        self.session.run(self.step, {"x:0": X})
        after = self.session.run(self.variables)
        return [new - old for new, old in zip(after, before, strict=True)], gradients


def units() -> tuple[np.ndarray, np.ndarray]:
    """60 max|w| / 127 of each channel; 1 in the dead one."""
    kernel = RATIO * np.abs(KERNEL).max((0, 1, 2), keepdims=True) / 127
    depthwise = RATIO * np.abs(DEPTHWISE).max((0, 1), keepdims=True) / 127
    return np.where(SIZES, kernel, 1), depthwise


def test_gradient_descent_moves_a_weight_by_the_square_of_its_unit(tmp_path: Path) -> None:
    """w = w0 + s u, so that a step of u by -rate * s * g is one of w by -rate * s² * g."""
    training = Training(tmp_path, v1.train.GradientDescentOptimizer(0.1))
    moved, gradients = training.train()
    for found, unit, gradient in zip(moved, [*units(), 1.0], gradients, strict=True):
        wanted = -0.1 * np.square(unit) * gradient
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("algorithm", ["arq_retrain", "ulq_retrain"])
def test_adam_moves_every_channel_by_the_same_share_of_its_step(
    tmp_path: Path, algorithm: str
) -> None:
    """By rate * ratio steps, whatever they are; by rate where there is no grid."""
    text = f"retrain_weight_quant_config: {{ {algorithm}: {{ channel_wise: true }} }}"
    training = Training(tmp_path, v1.train.AdamOptimizer(1e-3, epsilon=1e-12), text)
    moved, gradients = training.train()
    for found, unit, gradient in zip(moved, [*units(), 1.0], gradients, strict=True):
        assert np.count_nonzero(gradient) > 0.7 * gradient.size
        wanted = np.broadcast_to(1e-3 * unit, found.shape)
        np.testing.assert_allclose(found, -np.sign(gradient) * wanted, rtol=2e-2, atol=1e-9)


def test_training_that_stops_and_resumes_ends_where_training_in_one_go_ends(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Units are those of the moment, and what Adam keeps is in the checkpoint."""

    def run(start: str | None, batches: list[np.ndarray], name: str) -> tuple[str, bytes]:
        net = network(True)
        ops = rewrite(net.graph, tmp_path)
        with net.graph.as_default():
            step = amct.in_step_units(v1.train.AdamOptimizer(1e-3)).minimize(net.loss)
            with v1.Session() as session:
                session.run(v1.global_variables_initializer())
                if start is not None:
                    v1.train.Saver().restore(session, start)
                assert session.run(v1.report_uninitialized_variables()).size == 0
                for batch in batches:
                    session.run(step, {net.x: batch, net.labels: LABELS})
                saved = str(v1.train.Saver().save(session, str(tmp_path / name)))
                return saved, session.run(ops[-1])

    whole, in_one_go = run(None, BATCHES, "whole")
    half, _ = run(None, BATCHES[:3], "half")
    _, resumed = run(half, BATCHES[3:], "resumed")
    assert in_one_go == resumed
    # An inference graph takes the checkpoint, and its record is that of the training graph.
    net = network(False)
    ops = rewrite(net.graph, tmp_path)
    with net.graph.as_default(), v1.Session() as session:
        v1.train.Saver().restore(session, whole)
        assert b"scale_w" in session.run(ops[-1])


def test_a_monitored_session_trains_and_recovers(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Nothing has to be initialised but what is in the collections; it goes on where it ended."""
    steps = []
    for batches in (BATCHES[:2], BATCHES[2:]):
        net = network(True)
        rewrite(net.graph, tmp_path)
        with net.graph.as_default():
            step = v1.train.get_or_create_global_step()
            optimizer = amct.in_step_units(v1.train.AdamOptimizer(1e-3))
            train = optimizer.minimize(net.loss, step)
            assert optimizer.get_slot_names() == ["m", "v"]
            with v1.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path / "run"), log_step_count_steps=None
            ) as session:
                for batch in batches:
                    session.run(train, {net.x: batch, net.labels: LABELS})
                steps.append(session.run(step))
    assert steps == [2, 6]


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    """One error each, and the graph is as before."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 2], "x")
        tf.matmul(x, v1.get_variable("w", [2, 3]), name="layer")
        adam = v1.train.AdamOptimizer()
        with pytest.raises(GraphStateError, match="create_quant_retrain_model was not called"):
            amct.in_step_units(adam)
        rewrite(graph, tmp_path)
        operations = len(graph.get_operations())
        for ratio in (0, -1.0, "60", True, float("nan")):
            with pytest.raises(ConfigError, match=r"^ratio "):
                amct.in_step_units(adam, ratio=ratio)
        with pytest.raises(ConfigError, match=r"^optimizer \(str\)"):
            amct.in_step_units("adam")
        with pytest.raises(ConfigError, match=r"^graph \(int\)"):
            amct.in_step_units(adam, 60)
        with (
            tf.distribute.MirroredStrategy(["/cpu:0"]).scope(),
            pytest.raises(GraphStateError, match=r"tf\.distribute strategy"),
        ):
            amct.in_step_units(adam)
        assert len(graph.get_operations()) == operations
        graph.finalize()
        with pytest.raises(FinalizedGraphError):
            amct.in_step_units(adam)
