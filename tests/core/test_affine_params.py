"""Ranges to scale and offset, against TensorFlow's own kernel."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import NonFiniteError, RangeError
from graphquant_core.grid import INT8, INT8_NARROW, Grid
from graphquant_core.quantize import (
    FLOAT32_EPSILON,
    affine_params,
    dequantize,
    fake_quantize,
    quantize,
)
from graphquant_core.testing import activation_ranges, grids

RANGES = 400
VALUES = 200


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 12, 16])
def test_affine_quantisation_is_that_of_the_kernel(bits: int, narrow: bool) -> None:
    """fake_quantize(affine_params(min, max)) = FakeQuantWithMinMaxVars, up to ties."""
    rng = np.random.default_rng(bits + narrow)
    size = np.exp(rng.uniform(-5, 5, RANGES))
    low = -size * rng.choice([0, 1, 1, 1], RANGES) * rng.uniform(0, 2, RANGES)
    high = size * rng.choice([0, 1, 1, 1], RANGES) * rng.uniform(0, 2, RANGES) + 0.01
    low[:40] = -high[:40]  # zero points of exactly a half: the ties of the nudging
    x = rng.uniform(1.3 * low - 0.1, 1.3 * high + 0.1, (VALUES, RANGES))
    x[0], x[1] = -1e9, 1e9
    low, high, x = (array.astype(np.float32) for array in (low, high, x))
    kernel = _fake_quant_kernel(x, low, high, bits, narrow)

    params = affine_params(low, high, Grid(bits, narrow=narrow), (1,))
    ours, theirs = quantize(x, params), np.rint(kernel / params.scale) + params.offset
    steps = x.astype(np.float64) / params.scale
    to_tie = np.abs(steps - np.floor(steps) - 0.5)
    assert to_tie[ours != theirs].max(initial=0) < params.grid.levels * 2.0**-21
    same = ours == theirs
    np.testing.assert_allclose(fake_quantize(x, params)[same], kernel[same], rtol=1e-6)
    for row, code in ((0, params.grid.minimum), (1, params.grid.maximum)):
        assert (theirs[row] == code).all()


def _fake_quant_kernel(
    x: np.ndarray, low: np.ndarray, high: np.ndarray, bits: int, narrow: bool
) -> np.ndarray:
    """FakeQuantWithMinMaxVars on each column of `x`, with that column's range."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        column, minimum, maximum = (v1.placeholder(tf.float32) for _ in range(3))
        output = tf.raw_ops.FakeQuantWithMinMaxVars(
            inputs=column, min=minimum, max=maximum, num_bits=bits, narrow_range=narrow
        )
        run = session.make_callable(output, [column, minimum, maximum])
        return np.stack([run(*each) for each in zip(x.T, low, high, strict=True)], axis=1)


@pytest.mark.parametrize("grid", [INT8, INT8_NARROW], ids=["full", "narrow"])
@pytest.mark.parametrize("end", [3.0, 4.0])
def test_the_knife_edge_falls_where_the_kernel_lets_it_fall(grid: Grid, end: float) -> None:
    """min = -max puts the zero point of a full grid at 127.5: float32 decides, as it does there."""
    x = np.array([[-1e9], [1e9]], np.float32)
    bounds = np.array([-end], np.float32), np.array([end], np.float32)
    kernel = _fake_quant_kernel(x, *bounds, grid.bits, grid.narrow)
    params = affine_params(*bounds, grid, (1,))
    np.testing.assert_allclose(fake_quantize(x, params), kernel, rtol=1e-7)


@pytest.mark.parametrize("grid", [INT8, INT8_NARROW], ids=["full", "narrow"])
def test_zero_points_halfway_between_integers_round_like_the_kernel(grid: Grid) -> None:
    """Every zero point of k + 1/2, exact or one float32 below, goes where the kernel's goes."""
    low = -np.arange(0.5, grid.levels, 1, np.float32)
    low = np.concatenate([low, np.nextafter(low, np.float32(0))])
    high = np.float32(grid.levels) + low
    ends = np.stack([np.full_like(low, -1e9), np.full_like(low, 1e9)])
    kernel = _fake_quant_kernel(ends, low, high, grid.bits, grid.narrow)
    params = affine_params(low, high, grid, (1,))
    np.testing.assert_allclose(fake_quantize(ends, params), kernel, rtol=1e-6)


@given(activation_ranges(), grids())
def test_the_range_is_reached_up_to_half_a_step(
    ends: tuple[np.float32, np.float32], grid: Grid
) -> None:
    """The grid's ends lie within half a step of min and max, and are levels steps apart."""
    params = affine_params(*ends, grid)
    codes = np.array([grid.minimum, grid.maximum])
    reached = (codes - float(params.offset)) * float(params.scale)
    rounding = 1e-6 * (float(ends[1]) - float(ends[0]))
    assert np.abs(reached - np.array(ends, np.float64)).max() <= params.scale / 2 + rounding
    assert dequantize(np.array(int(params.offset)), params) == 0


@given(st.floats(2.0**-9, 100, width=32), st.floats(2.0**-9, 100, width=32), grids())
def test_a_range_without_zero_is_widened(start: float, length: float, grid: Grid) -> None:
    """[a, b] with 0 < a acts as [0, b], and [-b, -a] as [-b, 0]."""
    end = start + length
    assert affine_params(start, end, grid) == affine_params(0, end, grid)
    assert affine_params(-end, -start, grid) == affine_params(-end, 0, grid)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1e-9), (-1e-9, 1e-9), (-1e-40, 0)])
@pytest.mark.parametrize("grid", [INT8, INT8_NARROW], ids=["full", "narrow"])
def test_a_degenerate_range_gets_scale_one(low: float, high: float, grid: Grid) -> None:
    """Nothing was seen: scale 1.0 and the lowest offset, as AMCT records it."""
    params = affine_params(low, high, grid)
    assert (params.scale, params.offset) == (1, grid.minimum)


@pytest.mark.parametrize("below", [False, True])
def test_the_smallest_range_that_is_alive_is_kept(below: bool) -> None:
    """A scale of 1.192092896e-7 itself is kept, the float32 below it becomes 1.0."""
    scale = np.nextafter(FLOAT32_EPSILON, np.float32(0)) if below else FLOAT32_EPSILON
    two_steps = Grid(2, narrow=True)
    assert affine_params(0, 2 * scale, two_steps).scale == (1 if below else FLOAT32_EPSILON)


def test_one_degenerate_channel_leaves_the_others_alone() -> None:
    """Channels are independent."""
    params = affine_params([0, -1], [0, 254], INT8, (0,))
    assert params.scale.tolist() == [1, 1]
    assert params.offset.tolist() == [-128, -127]


def test_relu6_has_the_factors_of_a_recorded_model() -> None:
    """[0, 6] on int8 is scale 0.0235294122 and offset -128, as in AMCT's MobileNetV2 record."""
    params = affine_params(0, 6, INT8)
    assert f"{params.scale:.9g}" == "0.0235294122"
    assert params.offset == -128


@pytest.mark.parametrize(
    ("low", "high", "error", "message"),
    [
        (2, 1, RangeError, r"minimum \(2.0\) must not be above maximum \(1.0\)"),
        ([1, 0], [1, -1], RangeError, r"minimum \(0.0\) must not be above maximum \(-1.0\)"),
        ([0, 0], [1, -1], RangeError, r"minimum \(0.0\) must not be above maximum \(-1.0\)"),
        ([0, 0], 1, RangeError, r"minimum \(shape \[2\]\) and maximum \(shape \[\]\)"),
        (np.nan, 1, NonFiniteError, "minimum has 1 of 1"),
        (0, np.inf, NonFiniteError, "maximum has 1 of 1"),
        (-3e38, 3e38, NonFiniteError, "the scale of the range"),
    ],
)
def test_impossible_ranges_are_refused(
    low: object, high: object, error: type[Exception], message: str
) -> None:
    """min <= max, finite, of one shape, and their distance within float32."""
    with pytest.raises(error, match=message):
        affine_params(low, high, INT8, (0,) if np.ndim(low) else ())  # type: ignore[arg-type]
