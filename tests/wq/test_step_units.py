"""Weights that are trained in steps of their grids: one rate for all groups of weights."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, FinalizedGraphError, GraphStateError
from graphquant_wq import WeightQuantizer

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(16, 6)).astype(np.float32)
# Output channels whose weights differ by a factor of a thousand.
WEIGHT = (RANDOM.normal(size=(6, 4)) * [0.01, 0.1, 1, 10]).astype(np.float32)
RATIO = 15.0


class Training:
    """One layer with a bias, fake-quantised, and a training step."""

    def __init__(self, optimizer, bits=3, asymmetric=True, weight=WEIGHT, **options):
        self.graph = tf.Graph()
        with self.graph.as_default():
            x = v1.placeholder(tf.float32, [None, 6], "x")
            self.weight = v1.get_variable("w", initializer=weight)
            self.bias = v1.get_variable("b", initializer=np.ones(4, np.float32))
            y = tf.nn.bias_add(tf.matmul(x, self.weight, name="layer"), self.bias)
            self.loss = tf.reduce_mean(tf.square(tf.sin(y)))
            self.quantizer = WeightQuantizer(
                self.graph, bits, asymmetric=asymmetric, start="keep", **options
            )
            wrapped = self.quantizer.in_step_units(optimizer, RATIO)
            self.gradients = tf.gradients(self.loss, [self.weight, self.bias])
            self.step = wrapped.minimize(self.loss)
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())
        self.quantizer.init(self.session)

    def values(self):
        return self.session.run([self.weight, self.bias])

    def train(self):
        """(what the weight and the bias moved by, their gradients before)."""
        before = self.values()
        gradients = self.session.run(self.gradients, {"x:0": X})
        self.session.run(self.step, {"x:0": X})
        return [new - old for new, old in zip(self.values(), before, strict=True)], gradients


@pytest.mark.parametrize("asymmetric", [False, True])
def test_gradient_descent_moves_a_weight_by_the_square_of_its_unit(asymmetric):
    """w = w0 + s u, so that a step of u by -rate * s * g is one of w by -rate * s² * g."""
    training = Training(v1.train.GradientDescentOptimizer(0.1), asymmetric=asymmetric)
    (moved, bias_moved), (gradient, bias_gradient) = training.train()
    ends = np.ptp(WEIGHT, axis=0) / 7 if asymmetric else np.abs(WEIGHT).max(0) / 3
    unit = RATIO * ends.astype(np.float32)
    np.testing.assert_allclose(moved, -0.1 * unit**2 * gradient, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(bias_moved, -0.1 * bias_gradient, rtol=1e-4, atol=1e-7)


def test_adam_moves_every_group_by_the_same_share_of_its_step():
    """Its first step is rate * sign(gradient): 0.06 steps of a grid, whatever that is."""
    training = Training(v1.train.AdamOptimizer(4e-3))
    (moved, bias_moved), (gradient, _) = training.train()
    steps = np.ptp(WEIGHT, axis=0) / 7
    assert np.all(gradient != 0)
    np.testing.assert_allclose(moved / steps, -0.06 * np.sign(gradient), rtol=1e-2)
    np.testing.assert_allclose(np.abs(bias_moved), 4e-3, rtol=1e-2)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_a_group_without_a_grid_learns_as_by_the_optimizer_alone(asymmetric):
    """Its step is zero: it would never get one."""
    weight = WEIGHT * np.array([1, 0, 1, 1], np.float32)
    training = Training(
        v1.train.AdamOptimizer(4e-3), asymmetric=asymmetric, weight=weight, keep_zeros=False
    )
    (moved, _), (gradient, _) = training.train()
    assert np.all(gradient[:, 1] != 0)
    np.testing.assert_allclose(moved[:, 1], -4e-3 * np.sign(gradient[:, 1]), rtol=1e-2)


def test_momentum_goes_on_from_step_to_step():
    """What is pending is emptied after each step; what the optimizer remembers isn't."""
    training = Training(v1.train.MomentumOptimizer(0.01, 0.9))
    unit = RATIO * np.ptp(WEIGHT, axis=0) / 7
    velocity = np.zeros_like(WEIGHT)
    for _ in range(3):
        (moved, _), (gradient, _) = training.train()
        velocity = 0.9 * velocity + unit * gradient
        np.testing.assert_allclose(moved, -0.01 * unit * velocity, rtol=5e-3, atol=1e-6)


def test_nothing_is_saved_but_what_the_optimizer_has():
    """A Saver saves neither u nor the units: they are in no collection."""
    training = Training(v1.train.GradientDescentOptimizer(0.1))
    names = {variable.op.name for variable in training.graph.get_collection("variables")}
    assert names == {"w", "b"}


def test_what_cannot_be_done_is_refused():
    """One error each, and the graph is as before."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6], "x")
        tf.matmul(x, v1.get_variable("w", initializer=WEIGHT), name="layer")
        quantizer = WeightQuantizer(graph, 4)
        operations = len(graph.get_operations())
        for ratio in (0, -1.0, "15", True, float("nan")):
            with pytest.raises(ConfigError, match=r"^ratio "):
                quantizer.in_step_units(v1.train.AdamOptimizer(), ratio)
        with pytest.raises(ConfigError, match=r"^optimizer \(str\)"):
            quantizer.in_step_units("adam")
        assert len(graph.get_operations()) == operations
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            quantizer.init(session)
            with pytest.raises(GraphStateError, match="call in_step_units first"):
                quantizer.in_step_units(v1.train.AdamOptimizer())
    with tf.Graph().as_default() as graph:
        tf.matmul(v1.placeholder(tf.float32, [None, 6]), v1.get_variable("w", initializer=WEIGHT))
        quantizer = WeightQuantizer(graph, 4)
        graph.finalize()
        with pytest.raises(FinalizedGraphError):
            quantizer.in_step_units(v1.train.AdamOptimizer())
