"""The record's text format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import EmptyRecordError, ModelFileError, RecordError
from graphquant_core.record import (
    LayerFactors,
    Record,
    format_record,
    parse_record,
    read_record,
    write_record,
)

AMCT_RECORD = Path(__file__).parent / "data" / "mobilenet_v2_excerpt_record.txt"

float32s = st.floats(-(2.0**127), 2.0**127, width=32)
names = st.text(st.characters(codec="utf-8", exclude_characters=":"), min_size=1, max_size=20)


@st.composite
def layer_factors(draw: st.DrawFn) -> LayerFactors:
    scale_w = draw(st.none() | st.lists(float32s, min_size=1, max_size=4))
    return LayerFactors(
        scale_d=draw(float32s),
        offset_d=draw(st.integers(-(2**31), 2**31 - 1)),
        scale_w=scale_w,
        dst_type=draw(st.none() | names),
        skip_fusion=draw(st.none() | st.booleans()),
    )


@given(st.dictionaries(names, layer_factors(), min_size=1, max_size=4).map(Record))
def test_a_record_survives_its_text(record: Record) -> None:
    """parse(format(record)) == record, bit for bit, whatever the names and the numbers."""
    again = parse_record(format_record(record))
    assert again == record
    assert list(again) == list(record)


def test_a_record_that_amct_wrote_is_reproduced_byte_for_byte() -> None:
    """format(parse(text)) == text for a file of AMCT's."""
    text = AMCT_RECORD.read_text()
    assert format_record(parse_record(text)) == text


def test_the_factors_of_an_amct_record_are_read() -> None:
    """Names, order, scales and offsets are those in the file; AvgPool has no weight."""
    record = read_record(AMCT_RECORD)
    assert len(record) == 4
    conv = record["MobilenetV2/Conv/Conv2D"]
    assert (conv.scale_d, conv.offset_d) == (0.0078125, 0)
    assert conv.scale_w is not None
    assert conv.scale_w.shape == (32,)
    assert conv.scale_w.dtype == np.float32
    assert record["MobilenetV2/Logits/AvgPool"].scale_w is None


def test_fields_without_a_meaning_here_are_preserved() -> None:
    """What LayerFactors has no attribute for comes back in the text."""
    text = (
        'record {\n  key: "a"\n  value {\n    scale_d: 1\n    offset_d: 2\n    shift_bit: 3\n'
        '    skip_fusion: true\n    dst_type: "INT8"\n    act_type: "INT8"\n  }\n}\n'
        'prune_record {\n  producer {\n    name: "p"\n  }\n}\n'
    )
    assert format_record(parse_record(text)) == text


def test_every_layout_of_proto_text_is_read() -> None:
    """Comments, short lists, angle brackets and single quotes mean what protobuf says."""
    text = (
        "record < key: 'a' value { scale_d: 1 # c\n offset_d: 0 scale_w: [1, 2] offset_w: [0,0]}>"
    )
    assert parse_record(text)["a"] == LayerFactors(1, 0, [1, 2])


@pytest.mark.parametrize("text", ["", "  \n# nothing\n", "prune_record {}"])
def test_a_record_without_layers_asks_for_the_inference_after_training(text: str) -> None:
    """An empty record is an EmptyRecordError that says what was forgotten."""
    with pytest.raises(EmptyRecordError, match="inference process is omitted after the training"):
        parse_record(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('record {\n key: "a"\n value {\n scale_d: x', "in line 4"),
        ('record { key: "a" value { scale_x: 1 } }', 'did you mean "scale_w"'),
        ('record { key: "a" value { offset_d: 99999999999 } }', "in line 1"),
        ('record { key: "a" ', "in line 1"),
        ("\x00\x01 binary", "malformed"),
        ("{" * 5000, "malformed"),
        ("record { value { scale_d: 1 offset_d: 0 } }", "entry without key"),
        ('record { key: "a" value { offset_d: 0 } }', 'cannot find scale_d of layer "a"'),
        ('record { key: "a" value { scale_d: 1 } }', 'cannot find offset_d of layer "a"'),
        ('record { key: "a" value { scale_d: 1 offset_d: 0 } } ' * 2, 'layer "a" twice'),
    ],
)
def test_malformed_text_is_refused_with_the_place(text: str, message: str) -> None:
    """Broken text is a RecordError that names the line, the field or the layer."""
    with pytest.raises(RecordError, match=message) as caught:
        parse_record(text, "record_file (r.txt)")
    assert str(caught.value).startswith(("record_file (r.txt)", "cannot find"))
    assert len(str(caught.value)) < 400


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_no_text_makes_the_parser_fail_with_a_foreign_error(text: str) -> None:
    """Whatever the text, it is read or refused with an error of ours."""
    try:
        parse_record(text)
    except (RecordError, EmptyRecordError):
        return


def test_names_are_written_as_utf_8() -> None:
    """A name with letters beyond ASCII is readable in the file, as AMCT writes it."""
    text = format_record(Record({"Schicht/größe": LayerFactors(1, 0)}))
    assert 'key: "Schicht/größe"' in text
    assert list(parse_record(text)) == ["Schicht/größe"]


def test_more_text_than_a_record_can_have_is_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is refused with both numbers, for a text and for a file; what reaches it isn't."""
    entry = 'record { key: "a" value { scale_d: 1 offset_d: 0 } }'
    monkeypatch.setattr("graphquant_core.record.text.MAX_CHARACTERS", len(entry))
    monkeypatch.setattr("graphquant_core.record.file.MAX_CHARACTERS", len(entry))
    path = tmp_path / "r.txt"
    path.write_text(entry)
    assert list(parse_record(entry)) == list(read_record(path)) == ["a"]
    path.write_text(entry + " ")
    with pytest.raises(RecordError, match=f"has {len(entry) + 1} characters, {len(entry)} are"):
        parse_record(entry + " ")
    with pytest.raises(ModelFileError, match=f"it has {len(entry) + 1} bytes, {len(entry)} are"):
        read_record(path)


def test_a_file_is_written_and_read_back(tmp_path: Path) -> None:
    """read_record(write_record(record)) == record."""
    record = Record({"a/b": LayerFactors(0.1, -128, [0.25, 0.5])})
    write_record(tmp_path / "r.txt", record)
    assert read_record(tmp_path / "r.txt") == record
    assert [path.name for path in tmp_path.iterdir()] == ["r.txt"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A record file that isn't there is a ModelFileError with the argument and the path."""
    with pytest.raises(ModelFileError, match=r"record_file \(.*none\.txt\)"):
        read_record(tmp_path / "none.txt")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    """A file that isn't UTF-8 is a RecordError."""
    path = tmp_path / "r.bin"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match="no text"):
        read_record(path)
