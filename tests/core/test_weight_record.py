"""How weights alone are quantised, by the names of layers."""

from __future__ import annotations

import numpy as np
import pytest

from graphquant_core.exceptions import BitsError
from graphquant_core.weight_record import WeightGrid, WeightRecord


def test_a_weight_record_is_a_mapping_in_its_order():
    """It holds a copy of what it was given; equal grids make equal records."""
    grids = {"b": WeightGrid(4, True, 32), "a": WeightGrid(8)}
    record = WeightRecord(grids)
    grids.clear()
    assert list(record) == ["b", "a"]
    assert len(record) == 2
    assert record["a"] == WeightGrid(8, asymmetric=False, block_size=0)
    assert record == WeightRecord({"b": WeightGrid(4, True, 32), "a": WeightGrid(8)})


@pytest.mark.parametrize("bits", [1, 9, 4.0, True, None, "4", np.float32(4)])
def test_bits_are_integers_from_2_to_8(bits):
    """Everything else is refused with its value."""
    with pytest.raises(BitsError, match="from 2 to 8"):
        WeightGrid(bits)
