"""Laws of quantisation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graphquant_core.exceptions import NonFiniteError, RangeError
from graphquant_core.grid import INT8, INT8_NARROW, Grid
from graphquant_core.quant_params import QuantParams
from graphquant_core.quantize import (
    FLOAT32_EPSILON,
    affine_params,
    dequantize,
    fake_quantize,
    quantize,
    symmetric_params,
    symmetric_scale,
)
from graphquant_core.testing import (
    activation_ranges,
    grids,
    quant_params,
    tensors,
    weight_layouts,
    weights,
)

SHAPE = (4, 3)
POWERS_OF_TWO = st.integers(-6, 6).map(lambda exponent: 2.0**exponent)


def any_params() -> st.SearchStrategy[QuantParams]:
    """Params for SHAPE, per tensor or per column."""
    return st.one_of(quant_params(), quant_params(shape=SHAPE, axes=(1,)))


@given(tensors(SHAPE), any_params())
def test_quantisation_is_idempotent(x: np.ndarray, params: QuantParams) -> None:
    """Q(Q(x)) = Q(x): values on the grid stay, bit by bit."""
    once = fake_quantize(x, params)
    assert np.array_equal(fake_quantize(once, params), once)


@given(st.data(), any_params())
def test_codes_survive_dequantisation(data: st.DataObject, params: QuantParams) -> None:
    """quantize(dequantize(q)) = q for every code of the grid."""
    low, high = params.grid.minimum, params.grid.maximum
    codes = np.array(data.draw(st.lists(st.integers(low, high), min_size=12, max_size=12))).reshape(
        SHAPE
    )
    assert np.array_equal(quantize(dequantize(codes, params), params), codes)


@given(tensors(SHAPE, largest=2.0**16), any_params())
def test_the_error_is_at_most_half_a_step_inside_the_range(
    x: np.ndarray, params: QuantParams
) -> None:
    """|x - Q(x)| <= scale / 2 inside the grid's range; outside, Q(x) is the nearest end."""
    exact = x.astype(np.float64)
    codes = quantize(exact, params)
    scale, offset = (array.astype(np.float64) for array in params.broadcast(SHAPE))
    low, high = (params.grid.minimum - offset) * scale, (params.grid.maximum - offset) * scale
    nearest = np.clip(exact, low, high)
    error = np.abs((codes - offset) * scale - nearest)
    assert (error <= scale / 2 * (1 + 1e-9)).all()
    assert (codes[exact < low] == params.grid.minimum).all()
    assert (codes[exact > high] == params.grid.maximum).all()


@given(tensors((20,)), quant_params())
def test_quantisation_is_monotone(x: np.ndarray, params: QuantParams) -> None:
    """x <= y gives Q(x) <= Q(y)."""
    assert (np.diff(quantize(np.sort(x), params)) >= 0).all()


@given(any_params())
def test_zero_is_exact(params: QuantParams) -> None:
    """Q(0) = 0, and its code is the offset."""
    zero = np.zeros(SHAPE, np.float32)
    assert (fake_quantize(zero, params) == 0).all()
    assert (quantize(zero, params) == params.broadcast(SHAPE)[1]).all()


@given(tensors(SHAPE), any_params(), POWERS_OF_TWO)
def test_scaling_the_values_scales_the_result(
    x: np.ndarray, params: QuantParams, factor: float
) -> None:
    """Q(a x; a s) = a Q(x; s), bit by bit when a is a power of two."""
    assume((np.abs(x[x != 0]) > 2.0**-100).all())
    scale = params.scale * np.float32(factor)
    scaled = QuantParams(scale, params.offset, params.grid, params.axes)
    x = x * np.float32(factor)
    assert np.array_equal(
        fake_quantize(x, scaled), fake_quantize(x / np.float32(factor), params) * factor
    )


@given(st.data(), weight_layouts(), grids())
def test_permuting_channels_permutes_scales_and_codes(
    data: st.DataObject, layout: tuple[tuple[int, ...], tuple[int, ...]], grid: Grid
) -> None:
    """Each channel is quantised as if the others were not there."""
    rows, columns = layout[0][:2]
    weight = data.draw(weights((rows, columns), (1,)))
    order = data.draw(st.permutations(range(columns)))
    params = symmetric_params(np.abs(weight).max(axis=0), grid, (1,))
    permuted = symmetric_params(np.abs(weight[:, order]).max(axis=0), grid, (1,))
    assert np.array_equal(permuted.scale, params.scale[order])
    assert np.array_equal(quantize(weight[:, order], permuted), quantize(weight, params)[:, order])


@given(tensors((30,)), activation_ranges())
def test_more_bits_converge(x: np.ndarray, ends: tuple[np.float32, np.float32]) -> None:
    """The error falls below range / 2^b for every b up to 16."""
    low, high = ends
    inside = np.clip(x, low, high)
    for bits in range(2, 17):
        grid = Grid(bits, narrow=False)
        error = np.abs(fake_quantize(inside, affine_params(low, high, grid)) - inside)
        # Half a step, and half a step more where the zero point was rounded.
        assert error.max() <= (float(high) - float(low)) / grid.levels * (1 + 1e-4)


@given(st.data(), weight_layouts(), st.integers(2, 8))
def test_folding_batch_norm_commutes_with_narrow_symmetric_quantisation(
    data: st.DataObject, layout: tuple[tuple[int, ...], tuple[int, ...]], bits: int
) -> None:
    """codes(w k; s |k|) = sign(k) codes(w; s) per channel, exactly when k is a power of two."""
    shape, _ = layout
    axes = (len(shape) - 1,)
    weight = data.draw(weights(shape, axes, dead_channels=False))
    factors = st.tuples(POWERS_OF_TWO, st.sampled_from([-1.0, 1.0])).map(np.prod)
    k = np.array(data.draw(st.lists(factors, min_size=shape[-1], max_size=shape[-1])), np.float32)
    grid = Grid(bits, narrow=True)
    rest = tuple(range(len(shape) - 1))
    params = symmetric_params(np.abs(weight).max(axis=rest), grid, axes)
    folded = symmetric_params(np.abs(weight * k).max(axis=rest), grid, axes)
    assert np.array_equal(folded.scale, params.scale * np.abs(k))
    assert np.array_equal(quantize(weight * k, folded), np.sign(k) * quantize(weight, params))


def test_folding_with_any_factor_moves_only_ties() -> None:
    """codes(w k; s |k|) = sign(k) codes(w; s) for real k, up to float32 rounding at ties."""
    rng = np.random.default_rng(7)
    weight = rng.normal(size=(500, 64)).astype(np.float32)
    k = (rng.normal(size=64) * np.exp(rng.normal(size=64) * 3)).astype(np.float32)
    params = symmetric_params(np.abs(weight).max(axis=0), INT8_NARROW, (1,))
    folded = symmetric_params(np.abs(weight * k).max(axis=0), INT8_NARROW, (1,))
    np.testing.assert_allclose(folded.scale, params.scale * np.abs(k), rtol=3e-7)
    moved = quantize(weight * k, folded) != np.sign(k) * quantize(weight, params)
    steps = weight.astype(np.float64) / params.scale
    to_tie = np.abs(np.abs(steps - np.floor(steps)) - 0.5)
    assert to_tie[moved].max(initial=0) < 1e-4
    assert moved.mean() < 1e-3


def test_folding_a_negative_factor_into_a_full_grid_does_not_commute() -> None:
    """The full grid has -128 but no 128: this is why weights use the narrow one."""
    params = symmetric_params(np.float32(127), INT8)
    assert quantize([-128.0], params) == -128
    assert quantize([128.0], params) == 127


def test_ties_go_to_the_even_code() -> None:
    """Half a step rounds like NumPy's and TensorFlow's round, before the offset is added."""
    params = QuantParams(2.0, 1, INT8)
    x = np.array([-5.0, -3.0, -1.0, 1.0, 3.0, 5.0])
    assert quantize(x, params).tolist() == [-1, -1, 1, 1, 3, 3]


def test_float64_values_are_not_rounded_to_float32() -> None:
    """A hair above a tie, which float32 can't tell from the tie, rounds up."""
    above = 1 + 2.0**-40
    assert quantize(np.float64(above), QuantParams(2.0, 0, INT8)) == 1
    assert quantize(np.float32(above), QuantParams(2.0, 0, INT8)) == 0


def test_values_beyond_float32_steps_saturate() -> None:
    """x / scale may overflow; the code is still the grid's end."""
    params = QuantParams(2.0**-100, 3, INT8)
    assert quantize(np.array([-3e38, 3e38], np.float32), params).tolist() == [-128, 127]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_any_real_dtype_gives_the_same_dtypes(dtype: type) -> None:
    """Codes are int32 and values float32 whatever comes in."""
    params = QuantParams(0.5, 0, INT8)
    x = np.array([[1, -2], [3, 500]], dtype)
    assert quantize(x, params).dtype == np.int32
    assert quantize(x, params).tolist() == [[2, -4], [6, 127]]
    assert fake_quantize(x, params).dtype == np.float32
    assert fake_quantize(3.2, params).shape == ()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(wrong: float) -> None:
    """The error says how many and where the first one is."""
    x = np.zeros((2, 3))
    x[1, 0] = x[1, 2] = wrong
    with pytest.raises(NonFiniteError, match=r"x has 2 of 6 values .* first at index \[1, 0\]"):
        quantize(x, QuantParams(1.0, 0, INT8))


@given(grids(), st.floats(0, float(FLOAT32_EPSILON), exclude_max=True, width=32))
def test_a_dead_channel_gets_scale_one(grid: Grid, max_abs: float) -> None:
    """No weight to speak of: scale 1.0, never a division by zero, codes 0."""
    params = symmetric_params(max_abs, grid)
    assert params.scale == 1
    assert quantize(max_abs, params) == 0


@pytest.mark.parametrize("below", [False, True])
def test_the_smallest_scale_that_is_alive_is_kept(below: bool) -> None:
    """1.192092896e-7 itself is a scale, the float32 below it is none."""
    largest = np.nextafter(FLOAT32_EPSILON, np.float32(0)) if below else FLOAT32_EPSILON
    one_step = Grid(2, narrow=True)  # max|w| / 1
    assert symmetric_params(largest, one_step).scale == (1 if below else FLOAT32_EPSILON)


@given(st.data(), grids())
def test_the_largest_weight_gets_the_largest_code(data: st.DataObject, grid: Grid) -> None:
    """With scale = max|w| / qmax the codes ±qmax are used, and nothing saturates."""
    weight = data.draw(weights((6, 4), (1,), dead_channels=False))
    largest = np.abs(weight).max(axis=0)
    codes = quantize(weight, symmetric_params(largest, grid, (1,)))
    assert (np.abs(codes).max(axis=0) == grid.maximum).all()


def test_impossible_maxima_are_refused() -> None:
    """A largest magnitude is finite and not negative."""
    with pytest.raises(RangeError, match=r"max_abs \(-1.0\) must not be negative"):
        symmetric_scale([1.0, -1.0], INT8)
    with pytest.raises(NonFiniteError, match="max_abs has 1 of 1"):
        symmetric_scale(np.nan, INT8)
