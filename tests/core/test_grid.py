"""Grids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from graphquant_core.exceptions import BitsError, ConfigError
from graphquant_core.grid import INT8, INT8_NARROW, Grid
from graphquant_core.testing import grids


def test_eight_bits_are_those_of_int8() -> None:
    """Eight bits reach from -128 to 127 like NumPy's int8; narrow leaves -128 out."""
    limits = np.iinfo(np.int8)
    assert (INT8.minimum, INT8.maximum, INT8.levels) == (limits.min, limits.max, 255)
    assert (INT8_NARROW.minimum, INT8_NARROW.maximum, INT8_NARROW.levels) == (-127, 127, 254)


@given(grids())
def test_a_grid_has_as_many_integers_as_its_bits_allow(grid: Grid) -> None:
    """levels + 1 = 2^bits integers, one fewer when narrow, and then symmetric around 0."""
    assert grid.levels + 1 == 2**grid.bits - grid.narrow
    assert grid.maximum - grid.minimum == grid.levels
    assert grid.minimum + grid.maximum == (0 if grid.narrow else -1)


@pytest.mark.parametrize("bits", [1, 17, 0, -8, True, 8.0, "8", None])
def test_bits_outside_2_to_16_are_refused(bits: object) -> None:
    """Bits are an integer from 2 to 16; a bool or a float is none."""
    with pytest.raises(BitsError, match=r"bits \(.*\) must be an integer from 2 to 16"):
        Grid(bits, narrow=True)  # type: ignore[arg-type]


def test_numpy_integers_are_bits_too() -> None:
    """A NumPy integer makes the same grid as a Python one."""
    assert Grid(np.int32(8), narrow=True) == INT8_NARROW
    assert type(Grid(np.int32(8), narrow=True).bits) is int


def test_narrow_is_a_bool() -> None:
    """Anything but True and False is refused."""
    with pytest.raises(ConfigError, match=r"narrow \(1\) must be True or False"):
        Grid(8, narrow=1)  # type: ignore[arg-type]
