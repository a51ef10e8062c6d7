"""The strategy that trains its scale and zero point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from graphquant_core.grid import Grid
from graphquant_core.quantizers import QuantizerRequest
from graphquant_core.registry import load_registry
from graphquant_export.targets.mnn import mnn_quantize
from graphquant_wq import WeightQuantizer, restore_float_checkpoint

v1 = tf.compat.v1

DATA = np.random.default_rng(7).uniform(size=(40, 8, 8, 1)).astype(np.float32)
LABELS = (DATA.mean(axis=(1, 2, 3)) > 0.5).astype(np.int32)


@settings(max_examples=25)
@given(
    st.integers(2, 8),
    st.booleans(),
    st.integers(0, 10**6),
    st.floats(-4, 2),
    st.floats(-9, 3),
)
def test_mnn_finds_the_grid_wherever_training_goes(
    bits: int, asymmetric: bool, seed: int, log_scale: float, zero: float
) -> None:
    """For every value of the trained variables the output is quantised to itself by MNN."""
    weight = np.random.default_rng(seed).normal(size=(12, 5)).astype(np.float32)
    strategy = load_registry().weight_quantizer("learned_scale")
    with tf.Graph().as_default(), v1.Session() as session:
        built = strategy.build(
            tf.constant(weight), QuantizerRequest("w", Grid(bits, not asymmetric), (1,))
        )
        session.run(v1.global_variables_initializer())
        for variable in v1.trainable_variables():
            value = log_scale if "scale" in variable.op.name else zero
            variable.load(np.full(variable.shape, value, np.float32), session)
        output = session.run(built.output)
    stored = mnn_quantize(output.T, bits, asymmetric)
    np.testing.assert_allclose(
        stored.values().T, output, rtol=0, atol=1e-5 * float(np.abs(output).max())
    )


@pytest.mark.parametrize("asymmetric", [False, True])
def test_the_gradient_of_the_scale_is_that_of_the_straight_through_estimate(
    asymmetric: bool,
) -> None:
    """Finite differences in float64 of s * (z + clip(w/s - z) + r), r the frozen residual."""
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(40, 3)).astype(np.float32)
    upstream = rng.normal(size=(40, 3)).astype(np.float32)
    bits, grid = 3, Grid(3, not asymmetric)
    log_scale = np.log(np.array([0.3, 0.35, 0.4], np.float32))
    zero = np.array([-3.3, -3.6, -3.1], np.float32)
    low, high = (0, 2**bits - 1) if asymmetric else (-3, 3)

    def output(p: np.ndarray, residual: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        scale = np.exp(p.astype(np.float64))
        z = zero.astype(np.float64) if asymmetric else 0.0
        clipped = np.clip(weight / scale - z, low, high)
        r = np.rint(clipped) - clipped if residual is None else residual
        return scale * (z + clipped + r), r

    strategy = load_registry().weight_quantizer("learned_scale")
    with tf.Graph().as_default(), v1.Session() as session:
        built = strategy.build(tf.constant(weight), QuantizerRequest("w", grid, (1,)))
        session.run(v1.global_variables_initializer())
        variables = {variable.op.name: variable for variable in v1.trainable_variables()}
        variables["w/wq_log_scale"].load(log_scale, session)
        if asymmetric:
            variables["w/wq_zero_point"].load(zero, session)
        gradient = tf.gradients(built.output, variables["w/wq_log_scale"], upstream)[0]
        value, found = session.run([built.output, gradient])
    expected, residual = output(log_scale, None)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    step = 1e-4
    for group in range(3):
        ends = []
        for sign in (1, -1):
            moved = log_scale.astype(np.float64)
            moved[group] += sign * step
            ends.append((output(moved, residual)[0] * upstream).sum())
        np.testing.assert_allclose(
            found[group], (ends[0] - ends[1]) / (2 * step), rtol=2e-2, atol=2e-2
        )


def test_init_starts_the_scales_once(small_model: Callable[..., Any], tmp_path: Path) -> None:
    """Scales that were trained and restored stay; those of a float checkpoint are searched."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph, bits=3, strategy="learned_scale")
    step = model.trainer()
    with model.graph.as_default(), v1.Session() as session:
        scales = [v for v in v1.trainable_variables() if "wq_log_scale" in v.op.name]
        assert len(scales) == 5
        session.run(model.initializer())
        quantizer.init(session)
        started = session.run(scales)
        assert all((value < 0).all() for value in started)
        for _ in range(5):
            session.run(step, {model.x: DATA, model.labels: LABELS})
            quantizer.update(session)
        trained = session.run(scales)
        checkpoint = v1.train.Saver().save(session, str(tmp_path / "tuned"))
    assert any((old != new).any() for old, new in zip(started, trained, strict=True))
    other = small_model(training=False)
    quantizer = WeightQuantizer(other.graph, bits=3, strategy="learned_scale")
    with other.graph.as_default(), v1.Session() as session:
        v1.train.Saver().restore(session, checkpoint)
        quantizer.init(session)
        scales = [v for v in v1.trainable_variables() if "wq_log_scale" in v.op.name]
        for old, new in zip(trained, session.run(scales), strict=True):
            np.testing.assert_array_equal(old, new)


def test_init_starts_variables_that_nothing_initialised(
    small_model: Callable[..., Any], float_checkpoint: str
) -> None:
    """A float checkpoint that is restored alone leaves the scales to init."""
    model = small_model(training=False)
    with model.graph.as_default():
        saver = v1.train.Saver()
        quantizer = WeightQuantizer(bits=4, strategy="learned_scale")
        with v1.Session() as session:
            saver.restore(session, float_checkpoint)
            quantizer.init(session)
            probabilities = session.run(model.probabilities, {model.x: DATA})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_one_call_restores_a_float_checkpoint_with_scales_in_the_graph(
    small_model: Callable[..., Any], float_checkpoint: str
) -> None:
    """The float variables are restored, the scales and the optimizer's are initialised."""
    model = small_model()
    quantizer = WeightQuantizer(model.graph, bits=3, strategy="learned_scale")
    model.trainer()
    reader = v1.train.load_checkpoint(float_checkpoint)
    with model.graph.as_default(), v1.Session() as session:
        missing = restore_float_checkpoint(session, float_checkpoint)
        assert {"wq_log_scale", "wq_zero_point"} <= {v.op.name.rpartition("/")[2] for v in missing}
        weight = next(v for v in v1.trainable_variables() if v.op.name == "conv/w")
        np.testing.assert_array_equal(session.run(weight), reader.get_tensor("conv/w"))
        quantizer.init(session)
        scales = [v for v in missing if v.op.name.endswith("wq_log_scale")]
        assert all(value.any() for value in session.run(scales))
