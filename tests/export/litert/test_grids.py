"""Grids of int8 activations, and which of them a value gets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_export.targets.litert.stored_weight import StoredWeight
from graphquant_export.targets.litert.tensor_grid import TensorGrid, grid_of_range, widest

ENDS = st.floats(0, 1e6, width=32).filter(lambda end: end == 0 or end > 1e-6)


@given(ENDS, ENDS)
def test_an_observed_range_lies_on_its_grid_to_half_a_step(low, high):
    """255 steps from the lowest to the highest value, 0.0 on one of them, both ends within half."""
    grid = grid_of_range(-low, high)
    assert -128 <= grid.zero_point <= 127
    assert np.float32(grid.scale) == grid.scale > 0
    slack = 1e-5 * (low + high)
    assert grid.low - grid.scale / 2 - slack <= -low
    assert high <= grid.high + grid.scale / 2 + slack
    if low + high > 0:
        np.testing.assert_allclose(grid.scale, (low + high) / 255, rtol=1e-6)


def test_the_range_of_a_relu_has_zero_at_its_end():
    """Zero is the lowest code, which a fused activation clamps to."""
    assert grid_of_range(0.0, 5.1) == TensorGrid(5.1 / 255, -128)
    assert grid_of_range(-5.1, 0.0).zero_point == 127
    assert grid_of_range(0.0, 0.0) == TensorGrid(1.0, -128)


@given(st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=4))
def test_the_widest_grid_covers_every_other(ranges):
    """One of the grids, or none when no one holds all of them."""
    grids = [grid_of_range(-low, high) for low, high in ranges]
    found = widest(grids)
    covering = [
        grid for grid in grids if all(grid.covers(other.low, other.high) for other in grids)
    ]
    assert (found is None) == (not covering)
    assert found is None or found in covering


@pytest.mark.parametrize("count", [1, 4, 7])
def test_int4_codes_are_stored_in_pairs_with_the_first_in_the_low_bits(count):
    """Each code comes back from its four bits; an odd one has zeros beside it."""
    codes = np.random.default_rng(0).integers(-8, 8, (1, count)).astype(np.int8)
    weight = StoredWeight("layer", codes, np.ones(1, np.float32), 0, bits=4)
    stored = np.frombuffer(weight.data(), np.uint8)
    assert len(stored) == (count + 1) // 2
    halves = np.stack([stored & 15, stored >> 4], 1).reshape(-1)
    signed = np.where(halves > 7, halves.astype(int) - 16, halves)
    np.testing.assert_array_equal(signed[:count], codes[0])
    assert not signed[count:].any()
