"""Codes of 4 bits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.int4 import pack_int4


@given(st.lists(st.integers(-8, 7), max_size=9))
def test_codes_are_read_back_from_their_bytes(codes):
    """Byte k holds code 2 k in its low bits and code 2 k + 1 in its high ones, two's complement."""
    packed = pack_int4(np.array(codes, np.int8))
    assert len(packed) == (len(codes) + 1) // 2
    nibbles = [nibble for byte in packed for nibble in (byte & 15, byte >> 4)]
    read = [nibble - 16 if nibble > 7 else nibble for nibble in nibbles]
    assert read == codes + [0] * (len(codes) % 2)
