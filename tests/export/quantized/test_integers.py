"""The numbers of a deployed layer."""

from __future__ import annotations

import numpy as np
import pytest

from graphquant_export.quantized.integers import distance_from_grid, weight_codes


@pytest.mark.parametrize(
    ("steps", "distance"),
    [
        ([], 0),
        ([-128, 0, 127], 0),
        ([3.25, -7], 0.25),
        ([-3.25], 0.25),
        ([130], 3),
        ([-130.5], 2.5),
    ],
)
def test_the_distance_from_the_grid_is_that_of_the_furthest_step(
    steps: list[float], distance: float
) -> None:
    """How far the worst one lies from the nearest of -128 … 127."""
    assert distance_from_grid(np.array(steps, np.float64)) == distance


def test_codes_are_rounded_to_even_and_saturate() -> None:
    """Ties go to the even code, the ends are -128 and 127."""
    codes = weight_codes(np.array([0.5, 1.5, -0.5, 300, -300]))
    assert codes.dtype == np.int8
    assert codes.tolist() == [0, 2, 0, 127, -128]
