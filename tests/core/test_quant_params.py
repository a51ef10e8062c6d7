"""Scale and offset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import NonFiniteError, RangeError
from graphquant_core.grid import INT8, INT8_NARROW, Grid
from graphquant_core.quant_params import QuantParams
from graphquant_core.testing import quant_params


@given(st.data())
def test_equal_contents_make_equal_params(data: st.DataObject) -> None:
    """Params compare and hash by content, whatever array they were made from."""
    params = data.draw(quant_params(shape=(2, 3), axes=(1,)))
    same = QuantParams(params.scale.tolist(), params.offset.tolist(), params.grid, [1])
    other = QuantParams(params.scale * np.float32(2), params.offset, params.grid, (1,))
    assert params == same
    assert hash(params) == hash(same)
    assert params != other


def test_params_are_read_only_and_own_their_arrays() -> None:
    """Neither the caller's array nor the params' own can change them."""
    scale = np.ones(2, np.float32)
    params = QuantParams(scale, [0, 0], INT8, (1,))
    scale[0] = 5
    assert params.scale.tolist() == [1, 1]
    for array in (params.scale, params.offset):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
    assert (params.scale.dtype, params.offset.dtype) == (np.float32, np.int32)


def test_params_of_a_tensor_are_arrays_without_axes() -> None:
    """Plain numbers become read-only arrays of shape []."""
    params = QuantParams(1, 0, INT8)
    for array in (params.scale, params.offset):
        assert isinstance(array, np.ndarray)
        assert array.shape == ()
        assert not array.flags.writeable


@pytest.mark.parametrize(
    ("scale", "offset", "grid", "axes", "message"),
    [
        (0.0, 0, INT8, (), r"scale \(0.0\) must be above 0"),
        (-1.0, 0, INT8, (), r"scale \(-1.0\) must be above 0"),
        (1e-60, 0, INT8, (), "must be above 0"),
        (1.0, 128, INT8, (), r"offset \(128\) must be from -128 to 127"),
        (1.0, -128, INT8_NARROW, (), r"offset \(-128\) must be from -127 to 127"),
        (1.0, 2**40, INT8, (), "must be from -128 to 127"),
        (1.0, np.int8(5), Grid(2, narrow=False), (), r"offset \(5\) must be from -2 to 1"),
        (1.0, 0.5, INT8, (), "must hold integers, not float64"),
        ([1.0], [0], INT8, (), r"scale \(shape \[1\]\) must have shape \[\]"),
        (1.0, 0, INT8, (1,), r"scale \(shape \[\]\) must have shape \[C\]"),
        ([1.0, 1.0], [0], INT8, (1,), r"offset \(shape \[1\]\) must have the shape of scale"),
        ([1.0], [0], INT8, (-1,), "must be increasing axes from 0"),
        (3e38, 0, INT8, (), "beyond float32"),
        (2e36, 127, INT8, (), "beyond float32"),
        (2e36, -128, INT8, (), "beyond float32"),
        ([1.0, 0.0], [0, 0], INT8, (1,), r"scale \(0.0\) must be above 0"),
        ([1.0, 1.0], [-5, 128], INT8, (1,), r"offset \(128\) must be from -128 to 127"),
        ([1.0, 3e38], [0, 0], INT8, (1,), "beyond float32"),
    ],
)
def test_impossible_params_are_refused(
    scale: Any, offset: Any, grid: Grid, axes: tuple[int, ...], message: str
) -> None:
    """A scale is above 0, an offset is in the grid, and the shapes fit the axes."""
    with pytest.raises(RangeError, match=message):
        QuantParams(scale, offset, grid, axes)


def test_a_grid_that_just_fits_into_float32_is_accepted() -> None:
    """What counts is the end of the grid that lies further from the offset."""
    params = QuantParams(2e36, 0, INT8)
    assert float(params.scale) * 128 < np.finfo(np.float32).max


@pytest.mark.parametrize("scale", [np.nan, np.inf, 1e39])
def test_scales_that_are_not_finite_are_refused(scale: float) -> None:
    """NaN, infinity and what overflows float32 are no scales; the first index is named."""
    with pytest.raises(NonFiniteError, match=r"scale has 1 of 2 .*first at index \[1\]"):
        QuantParams([1.0, scale], [0, 0], INT8, (0,))


def test_the_channels_of_a_tensor_must_be_as_many_as_the_scales() -> None:
    """A tensor with another number of channels is refused with both numbers."""
    params = QuantParams([1.0, 2.0], [0, 0], INT8, (2, 3))
    assert params.broadcast((3, 3, 1, 2))[0].shape == (1, 1, 1, 2)
    with pytest.raises(RangeError, match=r"has 8 channels along axes \(2, 3\), .* 2 scales"):
        params.broadcast((3, 3, 4, 2))
    with pytest.raises(RangeError, match="below 2"):
        params.broadcast((3, 3))
