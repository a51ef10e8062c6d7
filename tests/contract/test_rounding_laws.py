"""Metamorphic laws of the formulas that MNN's converter applies to a weight.

The same laws of the core's grids are in tests/core/test_quantize.py, over every grid and axis.
"""

from __future__ import annotations

import itertools

import hypothesis.extra.numpy as npst
import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from graphquant_export.targets.mnn import mnn_quantize

BITS = st.integers(2, 8)
ROWS = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(2, 9)),
    elements=st.floats(-8, 8, width=32).map(lambda x: x if abs(x) > 2**-10 else 0.0),
)


@given(rows=ROWS, bits=BITS, asymmetric=st.booleans())
def test_larger_weights_get_no_lower_codes(rows: np.ndarray, bits: int, asymmetric: bool) -> None:
    """Q is monotone within a group."""
    codes = mnn_quantize(rows, bits, asymmetric).codes.astype(int)
    for row, found in zip(rows, codes, strict=True):
        assert (np.diff(found[np.argsort(row, kind="stable")]) >= 0).all()


@given(rows=ROWS, bits=BITS, power=st.integers(-3, 3), asymmetric=st.booleans())
def test_scaling_a_weight_scales_its_scales_and_keeps_its_codes(
    rows: np.ndarray, bits: int, power: int, asymmetric: bool
) -> None:
    """Q(αx) = αQ(x) for a power of two, which no float32 rounding disturbs."""
    once = mnn_quantize(rows, bits, asymmetric)
    again = mnn_quantize(rows * np.float32(2.0**power), bits, asymmetric)
    np.testing.assert_array_equal(once.codes, again.codes)
    np.testing.assert_array_equal(once.scale * np.float32(2.0**power), again.scale)


@given(rows=ROWS, bits=BITS, asymmetric=st.booleans(), data=st.data())
def test_permuting_groups_permutes_scales_and_codes(
    rows: np.ndarray, bits: int, asymmetric: bool, data: st.DataObject
) -> None:
    """A group is quantised alone."""
    order = data.draw(st.permutations(range(len(rows))))
    once, again = (mnn_quantize(r, bits, asymmetric) for r in (rows, rows[order]))
    np.testing.assert_array_equal(once.codes[order], again.codes)
    np.testing.assert_array_equal(once.scale[order], again.scale)


@given(rows=ROWS, bits=BITS)
def test_zero_is_a_code_of_every_symmetric_grid(rows: np.ndarray, bits: int) -> None:
    """Q(0) = 0, exactly."""
    rows[:, 0] = 0
    assert not mnn_quantize(rows, bits, asymmetric=False).values()[:, 0].any()


@given(rows=ROWS, asymmetric=st.booleans())
def test_more_bits_come_nearer(rows: np.ndarray, asymmetric: bool) -> None:
    """The step, and with it the bound of the error, halves and more with each bit."""
    assume((np.ptp(rows, axis=1) > 0).all())
    scales = [mnn_quantize(rows, bits, asymmetric).scale for bits in range(2, 9)]
    for coarse, fine in itertools.pairwise(scales):
        assert (fine < coarse * np.float32(0.5001)).all()
    error = np.abs(mnn_quantize(rows, 8, asymmetric).values() - rows)
    reach = np.ptp(rows, axis=1) if asymmetric else 2 * np.abs(rows).max(axis=1)
    assert (error.max(axis=1) <= reach / 254 * 0.5001).all()
