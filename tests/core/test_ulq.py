"""The ULQ gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from graphquant_core.exceptions import NonFiniteError, RangeError
from graphquant_core.grid import INT8, Grid
from graphquant_core.quantize import affine_params, fake_quantize
from graphquant_core.testing import activation_ranges, grids, tensors
from graphquant_core.ulq import ulq_gradient

SIZE = 40


def _smooth_points(rng: np.random.Generator, low: float, high: float, step: float) -> np.ndarray:
    """Values in and around a range, none within two steps of its ends or near a tie."""
    x = rng.uniform(1.5 * low - 1, 1.5 * high + 1, 2000).astype(np.float32)
    far = (np.abs(x - low) > 2 * step) & (np.abs(x - high) > 2 * step)
    steps = x.astype(np.float64) / step
    return x[far & (np.abs(steps - np.floor(steps) - 0.5) > 1e-3)]


@given(activation_ranges(), st.integers(0, 10**6), st.integers(4, 10))
def test_the_gradient_is_that_of_the_straight_through_estimate(
    ends: tuple[np.float32, np.float32], seed: int, bits: int
) -> None:
    """Finite differences of clip(x) + r * scale, r the frozen rounding residual, agree.

    Rounding as identity makes x̂ = scale * round(v) into scale * (v + r), v = clip(x) / scale.
    """
    low, high = (float(end) for end in ends)
    grid = Grid(bits, narrow=False)
    step = (high - low) / grid.levels
    rng = np.random.default_rng(seed)
    assume(abs(high / step % 1 - 0.5) > 1e-3)  # the ends must not round by a hair either
    x = _smooth_points(rng, low, high, step)
    upstream = rng.normal(size=x.shape).astype(np.float32)
    v = np.clip(x.astype(np.float64), low, high) / step
    residual = np.rint(v) - v

    def loss(shift_x: float, top: float, bottom: float) -> float:
        straight = np.clip(x + shift_x, bottom, top) + residual * (top - bottom) / grid.levels
        return float(np.sum(upstream * straight))

    h = 0.5 * step
    dx, dmax, dmin = ulq_gradient(x, upstream, high, low, grid)
    close = {"rtol": 1e-3, "atol": 1e-3 * np.abs(upstream).sum()}
    np.testing.assert_allclose(
        dmax, (loss(0, high + h, low) - loss(0, high - h, low)) / (2 * h), **close
    )
    np.testing.assert_allclose(
        dmin, (loss(0, high, low + h) - loss(0, high, low - h)) / (2 * h), **close
    )
    np.testing.assert_allclose(
        dx.sum(), (loss(h, high, low) - loss(-h, high, low)) / (2 * h), **close
    )
    assert set(np.unique(dx[(x > low) & (x < high)] == upstream[(x > low) & (x < high)])) <= {True}


@given(st.floats(0.5, 100, width=32), tensors((SIZE,), largest=1.0))
def test_saturated_values_move_with_the_clip(clip_max: float, noise: np.ndarray) -> None:
    """Above a range [0, m], x̂ = m exactly: finite differences of fake_quantize itself agree."""
    x = np.float32(2.5 * clip_max) + np.abs(noise)
    h = clip_max / 64

    def output(top: float) -> np.ndarray:
        return fake_quantize(x, affine_params(0, top, INT8)).astype(np.float64)

    slope = (output(clip_max + h) - output(clip_max - h)) / (2 * h)
    dx, dmax, dmin = ulq_gradient(x, np.ones(SIZE), clip_max, 0.0, INT8)
    np.testing.assert_allclose(dmax, slope.sum(), rtol=1e-4)
    assert (dx == 0).all()
    assert abs(dmin) < 1e-4


def test_the_gradient_is_that_of_the_kernel_plus_the_rounding_term() -> None:
    """With an exact zero point: TensorFlow's gradient and ± Σ g (Q(x) - x) / range inside."""
    rng = np.random.default_rng(3)
    low, high = np.float32(-32), np.float32(31.75)
    x = rng.normal(size=4000).astype(np.float32) * 20
    upstream = rng.normal(size=4000).astype(np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        output = tf.raw_ops.FakeQuantWithMinMaxVars(inputs=x, min=low, max=high)
        gradient = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(
            gradients=upstream, inputs=x, min=low, max=high
        )
        y, (kernel_dx, kernel_dmin, kernel_dmax) = session.run([output, tuple(gradient)])
    rounding = np.sum(kernel_dx.astype(np.float64) * (y - x)) / (high - low)
    dx, dmax, dmin = ulq_gradient(x, upstream, high, low, INT8)
    assert np.array_equal(dx, kernel_dx)
    np.testing.assert_allclose(dmax, kernel_dmax + rounding, rtol=1e-4)
    np.testing.assert_allclose(dmin, kernel_dmin - rounding, rtol=1e-4)


@given(activation_ranges(), tensors((SIZE,)), tensors((SIZE,), largest=4.0), grids())
def test_a_shift_of_the_range_moves_only_saturated_values(
    ends: tuple[np.float32, np.float32], x: np.ndarray, upstream: np.ndarray, grid: Grid
) -> None:
    """dclip_max + dclip_min + Σ dx = Σ g: shifting x and the range together shifts x̂."""
    dx, dmax, dmin = ulq_gradient(x, upstream, float(ends[1]), float(ends[0]), grid)
    total = float(dmax) + float(dmin) + dx.sum(dtype=np.float64)
    tolerance = 1e-5 * (1 + np.abs(upstream).sum())
    np.testing.assert_allclose(total, upstream.sum(dtype=np.float64), atol=tolerance)


def test_crossed_clips_are_widened_to_hold_zero() -> None:
    """A clip that trained past zero counts as zero."""
    x, upstream = np.array([-1.0, 0.5, 3.0]), np.ones(3)
    np.testing.assert_equal(
        ulq_gradient(x, upstream, 2.0, 0.5, INT8), ulq_gradient(x, upstream, 2.0, 0.0, INT8)
    )


@pytest.mark.parametrize(
    ("clip_max", "clip_min", "error", "message"),
    [
        (0.0, 0.0, RangeError, r"clip_max \(0.0\) and clip_min \(0.0\) leave no range"),
        (-1.0, 1.0, RangeError, r"clip_max \(-1.0\) and clip_min \(1.0\) leave no range"),
        (np.nan, 0.0, NonFiniteError, "maximum has 1 of 1"),
        (1.0, -np.inf, NonFiniteError, "minimum has 1 of 1"),
    ],
)
def test_clips_without_a_range_are_refused(
    clip_max: float, clip_min: float, error: type[Exception], message: str
) -> None:
    """Two zeros, or crossed clips, or NaN, have no gradient."""
    with pytest.raises(error, match=message):
        ulq_gradient([1.0], [1.0], clip_max, clip_min, INT8)


def test_shapes_must_agree() -> None:
    """Upstream gradient and x have one shape: no silent broadcast."""
    with pytest.raises(RangeError, match=r"upstream \(shape \[1\]\) .* of x, \[3\]"):
        ulq_gradient(np.ones(3), np.ones(1), 1.0, 0.0, INT8)


def test_the_ends_of_the_grid_are_inside_as_for_the_kernel() -> None:
    """A value that is the last one of the grid passes its gradient on; the next float32 doesn't."""
    low, high = np.float32(-1), np.float32(254)  # scale 1, zero point 1: the ends are exact
    infinity = np.float32(np.inf)  # NumPy 1 takes a step of float64 towards a Python float
    x = np.array([low, np.nextafter(low, -infinity), high, np.nextafter(high, infinity)])
    ones = np.ones(4, np.float32)
    kernel = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(gradients=ones, inputs=x, min=low, max=high)
    dx, d_max, d_min = ulq_gradient(x, ones, high, low, INT8)
    assert dx.tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(dx, kernel[0])
    assert (d_max, d_min) == (1, 1)
