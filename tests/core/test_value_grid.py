"""Grids of int8 activations."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params
from graphquant_core.value_grid import ValueGrid, widest

ENDS = st.floats(0, 1e6, width=32).filter(lambda end: end == 0 or end > 1e-4)


@given(ENDS, ENDS)
def test_an_observed_range_lies_on_its_grid_to_half_a_step(low, high):
    """255 steps from the lowest to the highest value, 0.0 on one of them, both ends within half."""
    grid = ValueGrid.over(-low, high)
    assert -128 <= grid.zero_point <= 127
    assert np.float32(grid.scale) == grid.scale > 0
    slack = 1e-5 * (low + high)
    assert grid.low - grid.scale / 2 - slack <= -low
    assert high <= grid.high + grid.scale / 2 + slack
    if low + high > 0:
        np.testing.assert_allclose(grid.scale, (low + high) / 255, rtol=1e-6)


def test_the_range_of_a_relu_has_zero_at_its_end():
    """Zero is the lowest code, which a fused activation clamps to."""
    assert ValueGrid.over(0.0, 5.1) == ValueGrid(5.1 / 255, -128)
    assert ValueGrid.over(-5.1, 0.0).zero_point == 127
    assert ValueGrid.over(0.0, 0.0) == ValueGrid(1.0, -128)


@given(ENDS, ENDS, st.booleans())
def test_a_range_has_one_grid_however_it_is_asked_for(low, high, symmetric):
    """`over` is `affine_params` in every bit, also where 0.0 lies between two codes, or is all."""
    low = -high if symmetric else -low
    params = affine_params(low, high, INT8)
    grid = ValueGrid.over(low, high)
    assert (np.float32(grid.scale), grid.zero_point) == (params.scale, params.offset)
    assert grid.scale >= np.finfo(np.float32).eps


@given(st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=4))
def test_the_widest_grid_covers_every_other(ranges):
    """One of the grids, or none when no one holds all of them."""
    grids = [ValueGrid.over(-low, high) for low, high in ranges]
    found = widest(grids)
    covering = [
        grid for grid in grids if all(grid.covers(other.low, other.high) for other in grids)
    ]
    assert (found is None) == (not covering)
    assert found is None or found in covering
