"""ARQ in a graph computes what NumPy computes, and lets the gradient straight through."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from graphquant_core.channels import channel_matrix
from graphquant_core.exceptions import ConfigError
from graphquant_core.grid import INT8, Grid
from graphquant_core.quantize import fake_quantize, symmetric_params
from graphquant_core.quantizers import QuantizerRequest
from graphquant_core.testing import grids, weight_layouts, weights
from graphquant_qat.graph.arq import build_arq

v1 = tf.compat.v1


def run(
    weight: npt.NDArray[np.float32], grid: Grid, axes: tuple[int, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    with tf.Graph().as_default(), v1.Session() as session:
        tensor = tf.constant(weight)
        built = build_arq(tensor, QuantizerRequest("k", grid, axes))
        (gradient,) = tf.gradients(built.output, [tensor])
        return session.run([built.output, built.scale, gradient])


@settings(max_examples=30)
@given(data=st.data(), grid=grids(narrow=True, max_bits=8))
def test_the_output_is_numpys_fake_quantisation_per_channel(
    data: st.DataObject, grid: Grid
) -> None:
    """scale = max|w| / qmax of each channel, for every layout of channel axes."""
    shape, axes = data.draw(weight_layouts())
    weight = data.draw(weights(shape, axes))
    output, scale, gradient = run(weight, grid, axes)
    largest = np.abs(channel_matrix(weight, axes)).max(0)
    params = symmetric_params(largest if axes else largest[0], grid, axes)
    np.testing.assert_allclose(scale, params.scale, rtol=1e-6)
    expected = fake_quantize(weight, params)
    steps = np.abs(output - expected) / params.broadcast(shape)[0]
    assert (steps < 1e-3).mean() > 0.99
    assert steps.max() < 1.01
    assert (gradient == 1.0).all()


def test_one_scale_for_the_tensor_is_a_scalar() -> None:
    """No channel axes: scale []."""
    weight = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    output, scale, _ = run(weight, Grid(8, narrow=True), ())
    assert scale.shape == ()
    np.testing.assert_allclose(scale, np.abs(weight).max() / 127, rtol=1e-6)
    np.testing.assert_allclose(output, weight, atol=scale / 2 * 1.001)


def test_a_dead_channel_stays_zero_with_scale_one() -> None:
    """No division by zero, finite gradients."""
    weight = np.array([[0.0, 1.0], [0.0, -2.0]], np.float32)
    output, scale, gradient = run(weight, Grid(8, narrow=True), (1,))
    assert scale[0] == 1.0
    assert (output[:, 0] == 0).all()
    assert np.isfinite(gradient).all()


def test_a_full_grid_is_refused() -> None:
    """-128 would not survive a batch norm with a negative factor."""
    with pytest.raises(ConfigError, match="narrow"):
        run(np.ones((2, 2), np.float32), INT8, (1,))
