"""Records in the layout that they are written in are read as protobuf reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.record.schema import ScaleOffsetRecord
from graphquant_core.record.written_text import parse_written

AMCT_RECORD = (Path(__file__).parent / "data" / "mobilenet_v2_excerpt_record.txt").read_text()
ENTRY = """record {
  key: "a/Conv2D"
  value {
    scale_d: 0.0394387953
    offset_d: -11
    scale_w: 1.5e-05
    scale_w: 3
    offset_w: 0
    offset_w: -7
    dst_type: "INT8"
    tensor_balance_factor: 0.25
    tensor_balance_factor: 12
  }
}
"""
NUMBERS = [
    "0", "-0", "007", "017", "0x10", "1.", ".5", "1.5f", "1e5", "1E5", "1e-400", "1e40", "-1.25",
    "nan", "inf", "-infinity", "2147483647", "2147483648", "-2147483648", "99999999999", "1_0", "٣",
    "+1", "- 1", "16777217", "0.1", "1.17549435e-38"
]  # fmt: skip
numbers = st.sampled_from(NUMBERS)
strings = st.sampled_from(["", "a", r"\"", r"\n", "ü", '"', "\x7f", "\ud800", "a'b", "b\\", "x\ty"])


def by_protobuf(text: str) -> object:
    try:
        return text_format.Parse(text, ScaleOffsetRecord())
    except (text_format.ParseError, UnicodeError):
        return None


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", ["0.0394387953", "-11", "1.5e-05", "-7", "0.25"])
def test_a_number_in_any_field_is_read_as_protobuf_reads_it(field: str, number: str) -> None:
    """To the bit, or not here: a leading 0 makes an integer octal."""
    text = ENTRY.replace(field, number)
    found = parse_written(text)
    if found is not None:
        expected = by_protobuf(text)
        assert expected is not None
        assert found.SerializeToString() == expected.SerializeToString()  # type: ignore[attr-defined]


@given(numbers, numbers, numbers, numbers, strings, strings)
def test_no_number_and_no_name_is_read_otherwise(
    scale_d: str, offset_d: str, scale_w: str, offset_w: str, key: str, kind: str
) -> None:
    """What is read here protobuf reads, too, to the bit; what it refuses is not read here."""
    text = (
        ENTRY.replace("0.0394387953", scale_d).replace("-11", offset_d).replace("1.5e-05", scale_w)
        .replace("-7", offset_w).replace("a/Conv2D", key).replace("INT8", kind)
    )  # fmt: skip
    found = parse_written(text)
    if found is not None:
        expected = by_protobuf(text)
        assert expected is not None
        assert found.SerializeToString() == expected.SerializeToString()


@given(st.integers(0, len(ENTRY)), st.integers(0, 12), st.text(max_size=3))
def test_no_damage_is_read_otherwise(start: int, length: int, other: str) -> None:
    """The same for an entry of which a few characters are gone, doubled or others."""
    text = AMCT_RECORD[:1200].rpartition("record {")[0] + (
        ENTRY[:start] + other + ENTRY[start + length :]
    )
    found = parse_written(text)
    if found is not None:
        assert found.SerializeToString() == by_protobuf(text).SerializeToString()  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", [ENTRY, ENTRY * 3, AMCT_RECORD])
def test_what_is_written_is_read_here(text: str) -> None:
    """The layout of AMCT's file and of the training graph's needs no other parser."""
    found = parse_written(text)
    assert found is not None
    assert found.SerializeToString() == by_protobuf(text).SerializeToString()  # type: ignore[attr-defined]
