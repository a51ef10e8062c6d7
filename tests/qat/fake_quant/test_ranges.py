"""The grid of the FakeQuant kernels, and int8 scales for weights on it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, example, given
from hypothesis import strategies as st

from graphquant_qat.fake_quant.ranges import int8_weight, nudged_grid

ENDS = st.floats(-50, 50, width=32)


def kernel(x: np.ndarray, low: float, high: float, bits: int, narrow: bool) -> np.ndarray:
    """What TensorFlow's kernel makes of x."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return session.run(tf.quantization.fake_quant_with_min_max_vars(x, low, high, bits, narrow))


@example(low=-0.5, high=254.5, bits=8, narrow=False)  # zero points between two codes
@example(low=-2.5, high=251.5, bits=8, narrow=True)
@given(low=ENDS, high=ENDS, bits=st.integers(2, 8), narrow=st.booleans())
def test_the_grid_is_that_of_the_kernel(low: float, high: float, bits: int, narrow: bool) -> None:
    """The kernel returns (code - zero) * scale for each code, also where 0.0 is out of range."""
    assume(high - low > 1e-3)
    scale, zero = nudged_grid(low, high, bits, narrow)
    first, last = int(narrow), 2**bits - 1
    codes = np.arange(first, last + 1)
    values = ((codes - zero) * scale).astype(np.float32)
    np.testing.assert_allclose(
        kernel(values, low, high, bits, narrow), values, rtol=1e-5, atol=1e-4 * scale
    )
    ends = kernel(np.array([-1e6, 1e6], np.float32), low, high, bits, narrow)
    np.testing.assert_allclose(ends, values[[0, -1]], rtol=1e-5, atol=1e-4 * scale)


def test_a_range_of_zero_has_the_one_value_zero() -> None:
    """[0, 0] gets scale 1 and the first code, per channel beside ordinary channels."""
    scale, zero = nudged_grid([0.0, -1.0], [0.0, 1.54], 8, False)
    np.testing.assert_allclose(scale, [1, 0.01], rtol=1e-2)
    assert zero.tolist() == [0, 100]


@pytest.mark.parametrize(
    ("bits", "narrow", "reach"), [(8, True, 127), (4, True, 7), (8, False, 128)]
)
def test_a_symmetric_weight_keeps_its_steps(bits: int, narrow: bool, reach: int) -> None:
    """Codes within int8: the scale is the kernel's step times |factor|, whatever the sign."""
    random = np.random.default_rng(bits)
    step = np.array([0.01, 0.02, 0.005], np.float32)
    codes = random.integers(-reach, reach if narrow else 127, (5, 5, 3))
    codes[0, 0], factor = -reach, np.array([0.5, 2.0, -1.5 if narrow else 1.5])
    weight = (codes * step).astype(np.float32)
    result = int8_weight(weight, np.broadcast_to(step, weight.shape), factor, (2,))
    np.testing.assert_allclose(result.scale, step * np.abs(factor), rtol=1e-6)
    assert result.difference == 0


def test_a_code_beyond_int8_is_quantised_again_and_measured() -> None:
    """A channel with code 200 gets max|w| / 127; the others keep their scale."""
    step = np.float32(0.01)
    codes = np.array([[200, 20], [-55, -100], [3, 7]])
    weight = (codes * step).astype(np.float32)
    result = int8_weight(weight, np.full(weight.shape, step), np.ones(2), (1,))
    np.testing.assert_allclose(result.scale, [2 / 127, step], rtol=1e-6)
    found = np.rint(weight[:, 0] / result.scale[0]) * result.scale[0]
    np.testing.assert_allclose(result.difference, np.abs(found - weight[:, 0]).max() / step, 1e-4)
    assert 0 < result.difference < 200 / 127 / 2 + 1e-3


def test_a_negative_factor_turns_the_lowest_code_into_one_beyond_int8() -> None:
    """-128 * -1 = 128 isn't an int8: the channel is quantised again."""
    weight = np.array([[-1.28], [0.5]], np.float32)
    steps = np.full(weight.shape, np.float32(0.01))
    assert int8_weight(weight, steps, np.array([1.0]), (1,)).difference == 0
    flipped = int8_weight(weight, steps, np.array([-1.0]), (1,))
    np.testing.assert_allclose(flipped.scale, [1.28 / 127], rtol=1e-6)


def test_one_channel_with_several_steps_is_quantised_again() -> None:
    """Steps along another axis than the channels can't be one scale for each channel."""
    weight = np.array([[0.1, 0.2], [0.5, -1.0]], np.float32)
    steps = np.broadcast_to(np.array([0.001, 0.01], np.float32), weight.shape)
    result = int8_weight(weight, steps, np.ones(2), (0,))
    np.testing.assert_allclose(result.scale, [0.2 / 127, 1 / 127], rtol=1e-6)
    assert result.difference > 0


def test_dead_channels_get_scale_one() -> None:
    """All-zero weights and zero factors leave a scale that a record may have."""
    weight = np.array([[0.0, 0.3], [0.0, 0.1]], np.float32)
    result = int8_weight(weight, np.full(weight.shape, np.float32(0.1)), np.array([1, 0.0]), (1,))
    np.testing.assert_allclose(result.scale, [0.1, 1], rtol=1e-6)
