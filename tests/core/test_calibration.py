"""Range estimators."""

from __future__ import annotations

import numpy as np
import pytest

from graphquant_core.calibration import (
    RangeEstimator,
    affine_mse_range,
    ifmr_range,
    max_abs_range,
    min_max_range,
    percentile_range,
    symmetric_mse_range,
)
from graphquant_core.calibration.sorted_values import SortedValues
from graphquant_core.exceptions import NonFiniteError, RangeError
from graphquant_core.grid import INT8, INT8_NARROW, Grid
from graphquant_core.quantize import affine_params, fake_quantize, symmetric_params

ESTIMATORS = [
    affine_mse_range,
    ifmr_range,
    max_abs_range,
    min_max_range,
    percentile_range,
    symmetric_mse_range,
]
GRIDS = [INT8, INT8_NARROW, Grid(3, narrow=False), Grid(4, narrow=True)]

every_estimator = pytest.mark.parametrize("estimate", ESTIMATORS, ids=lambda e: e.__name__)
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=str)


def _long_tailed(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).laplace(size=shape).astype(np.float32)


def _error(x: np.ndarray, ends: tuple[np.ndarray, np.ndarray], grid: Grid) -> float:
    """Mean squared error in float64."""
    return float(
        np.mean((fake_quantize(x, affine_params(*ends, grid)) - x.astype(np.float64)) ** 2)
    )


@every_estimator
@every_grid
def test_channels_are_estimated_alone(estimate: RangeEstimator, grid: Grid) -> None:
    """The range of channel c is the range of its values, whatever the others hold."""
    x = _long_tailed(3, 3, 4, 2) * np.arange(1, 9, dtype=np.float32).reshape(4, 2)
    low, high = estimate(x, grid, (2, 3))
    assert low.shape == high.shape == (8,)
    assert low.dtype == high.dtype == np.float32
    for channel in range(8):
        alone = estimate(x.reshape(9, 8)[:, channel], grid)
        assert alone[0].shape == ()
        assert (low[channel], high[channel]) == alone


@every_estimator
@every_grid
@pytest.mark.parametrize("shift", [-10.0, 0.0, 10.0])
def test_every_range_holds_zero(estimate: RangeEstimator, grid: Grid, shift: float) -> None:
    """min <= 0 <= max, also for values on one side of zero."""
    low, high = estimate(_long_tailed(200) + np.float32(shift), grid)
    assert low <= 0 <= high
    assert low < high


@every_estimator
@every_grid
def test_scaling_the_values_scales_the_range(estimate: RangeEstimator, grid: Grid) -> None:
    """range(4 x) = 4 range(x), bit by bit."""
    x = _long_tailed(300)
    low, high = estimate(x, grid)
    assert estimate(4 * x, grid) == (4 * low, 4 * high)


@every_estimator
@every_grid
def test_nothing_but_zeros_makes_usable_factors(estimate: RangeEstimator, grid: Grid) -> None:
    """A dead tensor gives a range that `affine_params` takes, and zeros stay zeros."""
    x = np.zeros((5, 2), np.float32)
    assert (fake_quantize(x, affine_params(*estimate(x, grid, (1,)), grid, (1,))) == 0).all()


@every_estimator
def test_empty_and_non_finite_values_are_refused(estimate: RangeEstimator) -> None:
    """No data, NaN and infinity have no range; axes must exist."""
    with pytest.raises(RangeError, match=r"values \(shape \[0, 3\]\) are empty"):
        estimate(np.zeros((0, 3)), INT8, (1,))
    for wrong in (np.nan, np.inf):
        with pytest.raises(NonFiniteError, match=r"values has 1 of 3 .* at index \[1\]"):
            estimate(np.array([0, wrong, 1]), INT8)
    with pytest.raises(RangeError, match="axes"):
        estimate(np.zeros((2, 3)), INT8, (2,))


def test_min_max_takes_the_extremes() -> None:
    """(min, max) of each channel."""
    low, high = min_max_range(np.array([[-3, 2], [1, 5], [0.5, 1]]), INT8, (1,))
    assert (low.tolist(), high.tolist()) == ([-3, 0], [1, 5])


def test_max_abs_has_an_exact_zero_point() -> None:
    """A full grid gets (-128 s, 127 s), a narrow one (-127 s, 127 s); offset 0 or next to it."""
    x = np.array([-127.0, 3.0])
    assert max_abs_range(x, INT8) == (-128, 127)
    assert max_abs_range(x, INT8_NARROW) == (-127, 127)
    assert affine_params(*max_abs_range(x, INT8), INT8).offset == 0
    assert affine_params(*max_abs_range(x, INT8_NARROW), INT8_NARROW).offset == 0


@pytest.mark.parametrize("fraction", [0.9, 0.99, 0.999, 1.0])
def test_percentiles_leave_out_the_rarest_values(fraction: float) -> None:
    """The k-th smallest and the k-th largest value, k = n - int(fraction n), at least 1."""
    x = _long_tailed(1000)
    ordered = np.sort(x)
    rank = {0.9: 100, 0.99: 10, 0.999: 1, 1.0: 1}[fraction]
    low, high = percentile_range(x, INT8, fraction=fraction)
    assert (low, high) == (ordered[rank - 1], ordered[-rank])


@pytest.mark.parametrize("fraction", [0.5, 0.0, 1.1, np.nan])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    """A percentile keeps more than half of the values and not more than all."""
    with pytest.raises(RangeError, match=r"fraction \(.*\) must be above 0.5 and at most 1"):
        percentile_range(np.ones(3), INT8, fraction=fraction)


@every_grid
@pytest.mark.parametrize("seed", range(3))
def test_the_mse_search_never_loses_to_the_full_range(grid: Grid, seed: int) -> None:
    """The error is at most that of max-abs (symmetric) and of min-max (affine)."""
    x = _long_tailed(500, seed=seed) + np.float32(seed)
    symmetric = symmetric_mse_range(x, grid)
    assert _error(x, symmetric, grid) <= _error(x, max_abs_range(x, grid), grid)
    assert _error(x, affine_mse_range(x, grid), grid) <= _error(x, min_max_range(x, grid), grid)


@every_grid
def test_the_symmetric_mse_search_finds_the_best_fraction(grid: Grid) -> None:
    """A float64 search over the same scales finds none that is better."""
    x = _long_tailed(400).astype(np.float64)
    fractions = np.linspace(0.2, 1, 81)
    errors = []
    for scale in np.abs(x).max() * fractions / grid.maximum:
        quantized = np.clip(np.rint(x / scale), grid.minimum, grid.maximum) * scale
        errors.append(np.mean((quantized - x) ** 2))
    high = symmetric_mse_range(x, grid)[1]
    found = fake_quantize(x, symmetric_params(high, grid))
    assert np.mean((found - x) ** 2) <= min(errors) * (1 + 1e-5)


@pytest.mark.parametrize("side", [-1, 1])
def test_the_affine_mse_search_moves_each_end_alone(side: int) -> None:
    """One outlier: the end on its side comes in, the other stays near its own."""
    x = side * np.append(np.random.default_rng(0).uniform(-1, 1, 5000), 4.0)
    inner, outer = np.abs(affine_mse_range(x, Grid(3, narrow=False)))[::side]
    assert 0.7 < inner < 1.1
    assert outer < 2


@pytest.mark.parametrize("axes", [(), (1,)])
def test_the_affine_mse_search_never_loses_to_shrinking_both_ends(axes: tuple[int, ...]) -> None:
    """Outliers on both sides: no common fraction of both ends has a smaller error."""
    x = np.random.default_rng(1).normal(size=(600, 2)).astype(np.float32)
    x[:3], x[3:6] = 40.0, -40.0
    grid, fractions = Grid(3, narrow=False), np.linspace(0.05, 1, 20)
    found = affine_mse_range(x, grid, axes, fractions=fractions)
    columns = x.T if axes else [x]
    for index, column in enumerate(columns):
        ends = tuple(np.atleast_1d(end)[index] for end in found)
        full = column.min(), column.max()
        errors = [_error(column, (full[0] * f, full[1] * f), grid) for f in fractions]
        assert _error(column, ends, grid) <= min(errors) * (1 + 1e-5)


def test_the_first_of_equal_fractions_wins() -> None:
    """Scales 3 and 5 are equally wrong about 4: the fraction tried first is taken."""
    x, grid = np.array([-4.0, 4.0]), Grid(2, narrow=True)
    assert symmetric_mse_range(x, grid, fractions=(0.75, 1.25)) == (-3, 3)
    assert symmetric_mse_range(x, grid, fractions=(1.25, 0.75)) == (-5, 5)


def _ifmr_in_float64(x: np.ndarray, levels: int, minimum: int) -> tuple[float, float]:
    """AMCT's search, word by word, in float64."""
    k = max(1, x.size - int(0.999999 * x.size))
    high, low = max(np.sort(x)[-k], 0.0), min(np.sort(x)[k - 1], 0.0)
    best = (np.inf, 0.0)
    for ratio in np.arange(0.7, 1.3, 0.01):
        scale = (high * ratio - low) / levels
        quantized = np.rint(np.clip(x, low, high * ratio) / scale) * scale
        best = min(best, (float(np.mean((quantized - x) ** 2)), scale))
    scale = best[1]
    offset = -np.rint(low / scale) + minimum
    return (minimum - offset) * scale, (minimum + levels - offset) * scale


@pytest.mark.parametrize("kind", ["relu", "both sides", "negative"])
@pytest.mark.parametrize("bits", [4, 8])
def test_ifmr_is_amcts_search(kind: str, bits: int) -> None:
    """The clips are those of the search written out in float64."""
    x = _long_tailed(3000)
    x = {"relu": np.maximum(x, 0), "both sides": x, "negative": -np.abs(x)}[kind]
    grid = Grid(bits, narrow=False)
    expected = _ifmr_in_float64(x.astype(np.float64), grid.levels, grid.minimum)
    np.testing.assert_allclose(ifmr_range(x, grid), expected, rtol=1e-5, atol=1e-6)


def test_ifmr_clips_lie_on_the_grid() -> None:
    """`affine_params` of the clips has both clips on its grid."""
    x = _long_tailed(2000) + np.float32(0.3)
    ends = np.array(ifmr_range(x, INT8))
    np.testing.assert_allclose(fake_quantize(ends, affine_params(*ends, INT8)), ends, rtol=1e-5)


@pytest.mark.parametrize(
    "search", [(0.7, 0.7, 0.01), (0.0, 1.3, 0.01), (0.7, 1.3, 0.0), (np.nan, 1, 1)]
)
def test_impossible_searches_are_refused(search: tuple[float, float, float]) -> None:
    """0 < start < stop and step > 0."""
    with pytest.raises(RangeError, match="must be 0 < start < stop and a step above 0"):
        ifmr_range(np.ones(3), INT8, search=search)


def test_the_error_of_a_grid_is_that_of_rounding_each_value_to_it() -> None:
    """Sums of sorted values give Σ (p - x)², p the nearest point, for each of several grids."""
    x = _long_tailed(3000)
    grids = np.sort(np.random.default_rng(1).normal(size=(5, 32)), axis=1).astype(np.float32)
    nearest = np.abs(x[:, None].astype(np.float64) - grids[:, None]).min(axis=2)
    found = SortedValues(x).squared_errors(grids)
    np.testing.assert_allclose(found, np.square(nearest).sum(axis=1), rtol=1e-9)
