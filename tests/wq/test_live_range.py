"""The strategies whose grid follows the live range of the weights."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from graphquant_core.exceptions import ConfigError
from graphquant_core.grid import Grid
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_core.registry import load_registry
from graphquant_export.targets.mnn import mnn_quantize

v1 = tf.compat.v1


def _run(
    weight: np.ndarray, bits: int, axes: tuple[int, ...], asymmetric: bool = False
) -> dict[str, np.ndarray]:
    with tf.Graph().as_default(), v1.Session() as session:
        tensor = tf.constant(weight)
        strategy = load_registry().weight_quantizer("live_range" if asymmetric else "max_abs")
        built = strategy.build(tensor, QuantizerRequest("w", Grid(bits, not asymmetric), axes))
        assert isinstance(built, FakeQuantized)
        (gradient,) = tf.gradients(built.output * 3.0, tensor)
        fetches = {
            "output": built.output,
            "scale": built.scale,
            "offset": built.offset,
            "gradient": gradient,
        }
        return dict(session.run(fetches))


@settings(max_examples=25)
@given(st.integers(2, 8), st.integers(0, 10**6))
def test_a_weight_is_rounded_to_its_groups_largest_over_qmax(bits: int, seed: int) -> None:
    """In float64, round(w / s) * s with s = max|w| / (2^(b-1) - 1), up to ties."""
    weight = np.random.default_rng(seed).normal(size=(12, 5)).astype(np.float32)
    got = _run(weight, bits, (1,))
    exact = weight.astype(np.float64)
    scale = np.abs(exact).max(axis=0) / (2 ** (bits - 1) - 1)
    steps = exact / scale
    np.testing.assert_allclose(got["scale"], scale, rtol=1e-6)
    clear = np.abs(steps - np.floor(steps) - 0.5) > 1e-4
    np.testing.assert_allclose(
        got["output"][clear], (np.rint(steps) * scale)[clear], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("mode", ["symmetric", "asymmetric", "asymmetric that keeps zero"])
def test_the_gradient_is_that_of_the_straight_through_estimate(mode: str) -> None:
    """Central differences in float64 of the formula with its rounding residual held fixed.

    The ends of each group move the scale, and with it every weight of the group.
    """
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(9, 3)).astype(np.float32)
    upstream = rng.normal(size=(9, 3)).astype(np.float32)
    bits = 2

    def output(w: np.ndarray, residual: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if mode == "asymmetric":
            low, scale = w.min(axis=0), (w.max(axis=0) - w.min(axis=0)) / (2**bits - 1)
        else:
            scale = np.abs(w).max(axis=0) / (2 ** (bits - 1) - 1)
            low = -scale
        steps = (w - low) / scale
        fixed = np.rint(steps) - steps if residual is None else residual
        return low + (steps + fixed) * scale, fixed

    with tf.Graph().as_default(), v1.Session() as session:
        tensor = tf.constant(weight)
        options = {"keeps_zero": tf.constant(True)} if "keeps" in mode else {}
        grid = Grid(bits, narrow=mode == "symmetric")
        request = QuantizerRequest("w", grid, (1,), options=options)
        built = load_registry().weight_quantizer("live_range").build(tensor, request)
        value, found = session.run([built.output, tf.gradients(built.output, tensor, upstream)[0]])
    exact = weight.astype(np.float64)
    expected, residual = output(exact, None)
    np.testing.assert_allclose(value, expected, atol=1e-6)
    step, slopes = 1e-6, np.zeros_like(exact)
    for index in np.ndindex(*exact.shape):
        ends = []
        for sign in (1, -1):
            moved = exact.copy()
            moved[index] += sign * step
            ends.append((output(moved, residual)[0] * upstream).sum())
        slopes[index] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(found, slopes, rtol=1e-4, atol=1e-5)
    assert np.count_nonzero(np.abs(found - upstream) > 1e-3) == (6 if mode == "asymmetric" else 3)


def test_weights_that_are_largest_together_share_the_gradient_of_the_scale() -> None:
    """Two largest weights of a group: each has half of what one alone would have."""
    gradients = []
    for largest in ([1.0, -0.9], [1.0, -1.0]):
        weight = np.array([[*largest, 0.3, 0.2]], np.float32).T
        with tf.Graph().as_default(), v1.Session() as session:
            tensor = tf.constant(weight)
            built = (
                load_registry()
                .weight_quantizer("max_abs")
                .build(tensor, QuantizerRequest("w", Grid(2, narrow=True), (1,)))
            )
            upstream = tf.constant([[0.0], [0.0], [2.0], [2.0]])
            gradients.append(session.run(tf.gradients(built.output, tensor, upstream)[0][:, 0]))
    np.testing.assert_allclose(gradients[0], [-1, 0, 2, 2], atol=1e-6)
    np.testing.assert_allclose(gradients[1], [-0.5, 0.5, 2, 2], atol=1e-6)


def test_a_group_that_mnn_stores_as_zeros_is_zero_and_its_gradient_finite() -> None:
    """A scale of at most 1e-6 makes a group zero; the other groups are as ever."""
    weight = np.array([[0.0, 3e-6, 3.1e-6, 1.0], [0.0, -1e-6, -1e-6, -0.9]], np.float32)
    got = _run(weight, 3, (1,))
    assert not got["output"][:, :2].any()
    assert got["output"][:, 2:].all(axis=0).any()
    assert np.isfinite(got["gradient"]).all()
    assert (got["scale"] > 0).all()


@pytest.mark.parametrize("grid", [Grid(4, narrow=False), Grid(9, narrow=True)])
def test_a_grid_that_mnn_cannot_store_is_refused(grid: Grid) -> None:
    """Only narrow grids of 2 to 8 bits can be built."""
    with tf.Graph().as_default(), pytest.raises(ConfigError, match="narrow grid of 2 to 8 bits"):
        load_registry().weight_quantizer("max_abs").build(
            tf.ones([3, 2]), QuantizerRequest("w", grid, (1,))
        )


@settings(max_examples=25)
@given(st.integers(2, 8), st.integers(0, 10**6), st.booleans())
def test_mnn_finds_the_grid_again(bits: int, seed: int, asymmetric: bool) -> None:
    """Quantised as the converter does, the output is itself: every end of a grid is reached."""
    weight = np.random.default_rng(seed).normal(size=(12, 5)).astype(np.float32)
    got = _run(weight, bits, (1,), asymmetric)
    stored = mnn_quantize(got["output"].T, bits, asymmetric)
    np.testing.assert_allclose(stored.values().T, got["output"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(stored.scale, got["scale"], rtol=1e-5)
    codes = stored.codes.T.astype(np.float64)
    restored = (codes - got["offset"]) * got["scale"].astype(np.float64)
    np.testing.assert_allclose(restored, got["output"], rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(2, 8), st.integers(0, 10**6))
def test_an_asymmetric_weight_moves_by_half_a_step_at_most(bits: int, seed: int) -> None:
    """In float64, |output - weight| <= (max - min) / (2^b - 1) / 2."""
    weight = np.random.default_rng(seed).normal(size=(12, 5)).astype(np.float32)
    exact = weight.astype(np.float64)
    step = (exact.max(axis=0) - exact.min(axis=0)) / (2**bits - 1)
    error = np.abs(_run(weight, bits, (1,), asymmetric=True)["output"] - exact)
    assert (error <= step * 0.5001).all()


def test_an_asymmetric_group_without_spread_is_its_minimum() -> None:
    """Equal weights stay what they are, and the gradient is finite."""
    weight = np.array([[0.25, 0.0, 1.0], [0.25, 0.0, 2.0]], np.float32)
    got = _run(weight, 3, (1,), asymmetric=True)
    np.testing.assert_allclose(got["output"], weight, atol=1e-6)
    np.testing.assert_allclose(got["gradient"][:, :2], 3)
    assert np.isfinite(got["gradient"]).all()
