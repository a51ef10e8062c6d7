"""Learned weight scales follow LSQ's formula and start at the largest weight."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.grid import INT8, INT8_NARROW
from graphquant_core.quantizers import QuantizerRequest
from graphquant_qat.graph.lsq import build_lsq

v1 = tf.compat.v1
Array = npt.NDArray[np.float32]
QMAX = 127


class Lsq:
    """A [3, 3, 4, 5] weight with learned scales, and its gradients."""

    def __init__(self, axes: tuple[int, ...] = (3,)) -> None:
        random = np.random.default_rng(0)
        self.weight = random.normal(size=(3, 3, 4, 5)).astype(np.float32)
        self.upstream = random.normal(size=self.weight.shape).astype(np.float32)
        self.graph = tf.Graph()
        with self.graph.as_default():
            weight = tf.constant(self.weight)
            self.built = build_lsq(weight, QuantizerRequest("k", INT8_NARROW, axes))
            (self.scale,) = v1.trainable_variables()
            loss = tf.reduce_sum(self.built.output * self.upstream)
            self.gradients = tf.gradients(loss, [weight, self.scale])
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())

    def load(self, scale: Array) -> None:
        with self.graph.as_default():
            self.scale.load(scale, self.session)


def test_the_first_step_starts_at_the_largest_weight_of_each_channel() -> None:
    """Before: live; after the first backward pass: stored and trained."""
    lsq = Lsq()
    largest = np.abs(lsq.weight).max((0, 1, 2))
    np.testing.assert_allclose(lsq.session.run(lsq.built.scale), largest / QMAX, rtol=1e-6)
    assert not lsq.session.run(lsq.built.calibrated)
    lsq.session.run(lsq.gradients)
    assert lsq.session.run(lsq.built.calibrated)
    np.testing.assert_allclose(lsq.session.run(lsq.scale), largest / QMAX, rtol=1e-6)
    lsq.load(np.full(5, 0.02, np.float32))
    lsq.session.run(lsq.gradients)
    np.testing.assert_array_equal(lsq.session.run(lsq.scale), np.full(5, 0.02, np.float32))


def test_values_and_gradients_are_those_of_the_formula() -> None:
    """Clipped channels included, against NumPy."""
    lsq = Lsq()
    lsq.session.run(lsq.gradients)
    scale = np.float32([0.005, 0.01, 0.02, 0.03, 0.5])
    lsq.load(scale)
    output, (dw, ds) = lsq.session.run([lsq.built.output, lsq.gradients])
    v = lsq.weight / scale
    inside = np.abs(v) <= QMAX
    codes = np.rint(np.clip(v, -QMAX, QMAX))
    np.testing.assert_allclose(output, codes * scale, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dw, lsq.upstream * inside, rtol=1e-5)
    terms = np.where(inside, codes - v, codes) * lsq.upstream
    expected = terms.sum((0, 1, 2)) / np.sqrt(36 * QMAX)
    np.testing.assert_allclose(ds, expected, rtol=2e-3, atol=1e-4)


def test_a_scale_that_training_pushed_below_zero_stays_above_it() -> None:
    """The output is finite, and the scale's gradient can bring it back."""
    lsq = Lsq(axes=())
    lsq.session.run(lsq.gradients)
    lsq.load(np.float32(-1.0))
    output, (_, ds) = lsq.session.run([lsq.built.output, lsq.gradients])
    assert np.isfinite(output).all()
    assert np.isfinite(ds)
    assert ds != 0
    assert lsq.session.run(lsq.built.scale) > 0


def test_a_full_grid_is_refused() -> None:
    """-128 would not survive a batch norm with a negative factor."""
    with tf.Graph().as_default(), pytest.raises(ConfigError, match="narrow"):
        build_lsq(tf.ones([2, 2]), QuantizerRequest("k", INT8, (1,)))
