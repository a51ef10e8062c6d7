"""The strategies that ship with the package."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.channels import channel_matrix
from graphquant_core.grid import Grid
from graphquant_core.quantize import affine_params, symmetric_scale
from graphquant_core.testing import activation_ranges, tensors, weight_layouts, weights


@given(st.data(), weight_layouts())
def test_live_weights_are_alive_at_every_width(
    data: st.DataObject, layout: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """No channel drawn without dead ones has a degenerate scale, even at 16 bits."""
    weight = data.draw(weights(*layout, dead_channels=False))
    largest = np.abs(channel_matrix(weight, layout[1])).max(axis=0)
    assert weight.shape == layout[0]
    assert (symmetric_scale(largest, Grid(16, narrow=True)) < 1).all()


@given(activation_ranges())
def test_ranges_are_usable_at_every_width(ends: tuple[np.float32, np.float32]) -> None:
    """minimum <= 0 <= maximum, and the scale is not degenerate, even at 16 bits."""
    assert ends[0] <= 0 <= ends[1]
    assert affine_params(*ends, Grid(16, narrow=False)).scale < 1


@given(tensors(largest=8.0))
def test_tensors_are_finite_float32(x: np.ndarray) -> None:
    """Values are float32 of at most the largest magnitude."""
    assert x.dtype == np.float32
    assert (np.abs(x) <= 8).all()


def test_without_hypothesis_the_error_says_what_to_install() -> None:
    """Importing graphquant_core.testing without hypothesis names the extra."""
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from graphquant_core.exceptions import MissingDependencyError\n"
        "try:\n    import graphquant_core.testing\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert "pip install graphquant-core[testing]" in result.stdout
