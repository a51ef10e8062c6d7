"""AMCT's tensor_balance_factor in records."""

from __future__ import annotations

import numpy as np
import pytest

from graphquant_core.exceptions import RecordError
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_core.record import (
    LayerFactors,
    Record,
    format_record,
    parse_record,
    validate_record,
)
from graphquant_core.record.compare import compare_records

TEXT = """\
record {
  key: "conv"
  value {
    scale_d: 0.5
    offset_d: -3
    scale_w: 0.25
    offset_w: 0
    tensor_balance_factor: 1.5
    tensor_balance_factor: 0.333333343
  }
}
"""
CONV = Layer(
    "conv",
    "Conv2D",
    activation_port=0,
    weight_port=1,
    weight_shape=(1, 1, 2, 4),
    weight_channel_axes=(3,),
    weight_input_axis=2,
)


def test_amcts_field_is_the_balance_and_comes_back() -> None:
    """The text of a record with the field is read and written as it is, bit for bit."""
    record = parse_record(TEXT)
    assert record["conv"].balance is not None
    assert record["conv"].balance.tolist() == [1.5, float(np.float32(1 / 3))]
    assert format_record(record) == TEXT


@pytest.mark.parametrize(
    ("axis", "balance", "said"),
    [
        (2, [1, 1, 1], r"tensor_balance_factor \(3 values\) of layer \"conv\" must have 2"),
        (2, [1, np.inf], r"tensor_balance_factor \(inf\) of layer \"conv\" must be above"),
        (None, [1, 1], "is not wanted: Conv2D has no weight for each channel"),
    ],
)
def test_a_balance_that_does_not_fit_is_refused(
    axis: int | None, balance: list[float], said: str
) -> None:
    """As many positive numbers as it takes channels, and none for a convolution in groups."""
    factors = LayerFactors(0.5, 0, [0.25], balance=balance)
    layer = Layer(
        CONV.name,
        CONV.op_type,
        activation_port=0,
        weight_port=1,
        weight_shape=CONV.weight_shape,
        weight_channel_axes=(3,),
        weight_input_axis=axis,
    )
    with pytest.raises(RecordError, match=said):
        validate_record(Record({"conv": factors}), Plan((layer,)))


@pytest.mark.parametrize(
    ("field", "nothing", "something", "named"),
    [
        ("balance", [1, 1], [1, 2], "tensor_balance_factor"),
        ("bias_correction", [0, 0], [0, 1], "bias"),
    ],
)
def test_another_balance_or_correction_is_a_difference(
    field: str, nothing: list[float], something: list[float], named: str
) -> None:
    """`compare_records` names the field; balances of one and corrections of zero are none."""
    records = [
        Record({"conv": LayerFactors(0.5, 0, [0.25], **{field: value})})  # type: ignore[arg-type]
        for value in (None, nothing, something)
    ]
    reasons = [compare_records(records[0], other)[0].reason for other in records]
    assert reasons == ["", "", named]
