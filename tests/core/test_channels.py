"""Channels as the product of axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given

from graphquant_core.channels import channel_count, channel_matrix, per_channel_shape
from graphquant_core.exceptions import RangeError
from graphquant_core.testing import weight_layouts

Layout = tuple[tuple[int, ...], tuple[int, ...]]


@given(weight_layouts())
def test_the_columns_are_the_channels(layout: Layout) -> None:
    """Column c of the matrix holds just the values that a [C] vector meets at its value c."""
    shape, axes = layout
    count = channel_count(shape, axes)
    vector = np.arange(count).reshape(per_channel_shape(shape, axes))
    matrix = channel_matrix(np.broadcast_to(vector, shape), axes)
    assert matrix.shape == (math.prod(shape) // count, count)
    assert (matrix == np.arange(count)).all()


@given(weight_layouts())
def test_the_matrix_loses_nothing(layout: Layout) -> None:
    """Every value stands in the matrix once."""
    values = np.arange(math.prod(layout[0])).reshape(layout[0])
    assert sorted(channel_matrix(values, layout[1]).flat) == list(values.flat)


def test_a_depthwise_weight_has_channels_times_multiplier() -> None:
    """[kh, kw, C, M] with axes (2, 3): channel c * M + m is TensorFlow's output channel."""
    values = np.arange(12).reshape(1, 1, 4, 3)
    assert channel_matrix(values, (2, 3)).tolist() == [list(range(12))]


def test_empty_tensors_have_channels() -> None:
    """No values, but still C columns."""
    assert channel_matrix(np.zeros((0, 3)), (1,)).shape == (0, 3)
    assert channel_matrix(np.zeros((3, 0)), (1,)).shape == (3, 0)


@pytest.mark.parametrize("axes", [(2,), (-1,), (1, 0), (0, 0)])
@pytest.mark.parametrize(
    "use",
    [
        lambda axes: channel_count((2, 3), axes),
        lambda axes: per_channel_shape((2, 3), axes),
        lambda axes: channel_matrix(np.zeros((2, 3)), axes),
    ],
)
def test_wrong_axes_are_refused(
    axes: tuple[int, ...], use: Callable[[tuple[int, ...]], object]
) -> None:
    """Axes are increasing, not negative and below the rank."""
    with pytest.raises(RangeError, match="must be increasing axes from 0 below 2"):
        use(axes)
