"""Codes as a .tflite file holds them."""

from __future__ import annotations

import numpy as np
import pytest

from graphquant_export.targets.litert.stored_weight import StoredWeight


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
