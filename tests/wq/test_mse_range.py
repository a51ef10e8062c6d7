"""The range of least squared error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.grid import Grid
from graphquant_wq.mse_range import best_range, clip_to_start, fit_to_best, start_range


def _error(rows: np.ndarray, low: np.ndarray, high: np.ndarray, levels: int) -> np.ndarray:
    """Squared error of each row in float64 on `levels` + 1 even values from low to high."""
    rows, low, high = (array.astype(np.float64) for array in (rows, low, high))
    step = np.maximum((high - low) / levels, 1e-30)[:, None]
    codes = np.clip(np.rint((rows - low[:, None]) / step), 0, levels)
    return np.square(low[:, None] + codes * step - rows).sum(axis=1)


@pytest.mark.parametrize("search", [best_range, start_range])
@given(st.integers(2, 8), st.booleans(), st.integers(1, 200), st.integers(0, 10**6))
def test_the_error_is_never_above_that_of_the_whole_range(
    search: Callable[..., Any], bits: int, narrow: bool, size: int, seed: int
) -> None:
    """And an end lies within the row's, or so close to it that its last weight rounds there."""
    rows = np.random.default_rng(seed).standard_t(4, size=(5, size)).astype(np.float32)
    grid = Grid(bits, narrow=narrow)
    low, high = search(rows, grid)
    if narrow:
        largest = np.abs(rows).max(axis=1)
        whole = -largest, largest
        np.testing.assert_array_equal(low, -high)
    else:
        whole = rows.min(axis=1), rows.max(axis=1)
    half_a_step = (high - low) / (2 * grid.levels) if search is best_range else 0
    assert (low + half_a_step >= whole[0]).all()
    assert (high - half_a_step <= whole[1]).all()
    found, given_ = (_error(rows, *ends, grid.levels) for ends in ((low, high), whole))
    assert (found <= given_ * (1 + 1e-4) + 1e-9).all()


@pytest.mark.parametrize(
    ("bits", "narrow", "optimum"),
    [(2, False, 0.1188), (3, False, 0.03744), (4, False, 0.01154), (2, True, 0.1902)],
)
def test_a_normal_weight_comes_near_the_best_that_a_uniform_grid_can_do(
    bits: int, narrow: bool, optimum: float
) -> None:
    """The optimal uniform quantisers of a normal variable (Max, 1960): within eight per cent."""
    rows = np.random.default_rng(0).normal(size=(8, 20000)).astype(np.float32)
    error = _error(rows, *best_range(rows, Grid(bits, narrow=narrow)), 2**bits - 1 - narrow)
    assert 0.9 * optimum < error.mean() / 20000 < 1.08 * optimum


@pytest.mark.parametrize(
    ("bits", "narrow"), [(2, True), (3, True), (4, True), (2, False), (3, False)]
)
@pytest.mark.parametrize("size", [9, 72, 3000])
def test_it_is_nearly_as_good_as_trying_every_range(bits: int, narrow: bool, size: int) -> None:
    """Within two per cent of the error of a dense search in float64, on long-tailed groups."""
    rows = np.random.default_rng(4).standard_t(5, size=(8, size)).astype(np.float32)
    grid = Grid(bits, narrow=narrow)
    lowest, highest = rows.min(axis=1), rows.max(axis=1)
    least = np.full(len(rows), np.inf)
    for low_cut in np.linspace(-0.3, 0.45, 40):
        for high_cut in [low_cut] if narrow else np.linspace(-0.3, 0.45, 40):
            if narrow:
                high = np.abs(rows).max(axis=1) * (1 - 2 * low_cut)
                low = -high
            else:
                low = lowest + low_cut * (highest - lowest)
                high = highest - high_cut * (highest - lowest)
            step = (high - low) / grid.levels
            reached = (low + step / 2 > lowest) & (high - step / 2 < highest)
            if narrow:
                reached = high - step / 2 < np.abs(rows).max(axis=1)
            error = _error(rows, low, high, grid.levels)
            least = np.where(reached, np.minimum(least, error), least)
    found = _error(rows, *best_range(rows, grid), grid.levels)
    assert found.sum() < 1.02 * least.sum()


def test_clipping_keeps_what_lies_inside() -> None:
    """Only weights beyond the range change, and they become its ends."""
    rows = np.random.default_rng(1).normal(size=(3, 500)).astype(np.float32)
    grid = Grid(2, narrow=False)
    low, high = start_range(rows, grid)
    clipped = clip_to_start(rows, grid)
    inside = (rows >= low[:, None]) & (rows <= high[:, None])
    np.testing.assert_array_equal(clipped[inside], rows[inside])
    np.testing.assert_array_equal(clipped.min(axis=1), low)
    np.testing.assert_array_equal(clipped.max(axis=1), high)


@pytest.mark.parametrize("narrow", [False, True])
def test_the_ends_of_the_fitted_rows_are_those_of_the_range(narrow: bool) -> None:
    """Only weights beyond an end change, and the last one before it; both round to it."""
    rows = np.random.default_rng(1).normal(size=(300, 9)).astype(np.float32)
    grid = Grid(3, narrow=narrow)
    low, high = best_range(rows, grid)
    fitted = fit_to_best(rows, grid)
    if narrow:
        np.testing.assert_array_equal(np.abs(fitted).max(axis=1), high)
    else:
        np.testing.assert_array_equal(fitted.min(axis=1), low)
        np.testing.assert_array_equal(fitted.max(axis=1), high)
    inside = (rows >= low[:, None]) & (rows <= high[:, None])
    moved = (fitted != rows) & inside
    assert moved.any()
    assert (moved.sum(axis=1) <= 2).all()
    step = ((high - low) / grid.levels)[:, None]
    assert (np.abs(fitted - rows) < step / 2)[inside].all()


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("change", [clip_to_start, fit_to_best])
def test_rows_without_spread_survive(change: Callable[..., Any], narrow: bool) -> None:
    """Zeros and equal values come back as they are."""
    rows = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(change(rows, Grid(3, narrow=narrow)), rows)
