"""Values that are rounded where they arise, in records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import EmptyRecordError, RecordError
from graphquant_core.record import LayerFactors, Record, format_record, parse_record
from graphquant_core.record.compare import compare_records
from graphquant_core.record.summary import summarize_record
from graphquant_core.value_grid import ValueGrid

LAYERS = {"conv1/Conv2D": LayerFactors(0.02, -128, [0.1, 0.2])}
GRIDS = st.builds(
    ValueGrid,
    st.floats(2.0**-22, 2.0**20, width=32),
    st.integers(-128, 127),
)
NAMES = st.from_regex(r"[a-z][a-z0-9_/]{0,9}:[0-3]", fullmatch=True)


@given(st.dictionaries(NAMES, GRIDS, max_size=4))
def test_values_outlive_the_text(values):
    """parse_record(format_record(record)) == record, the grids of values included."""
    record = Record(LAYERS, value_grids=values)
    assert parse_record(format_record(record)) == record


def test_an_entry_of_a_value_is_one_that_readers_of_the_format_take():
    """A value is an entry with a tensor's name and no weight, as a pooling has it."""
    text = format_record(Record(LAYERS, value_grids={"add:0": ValueGrid(0.5, 3)}))
    assert (
        'record {\n  key: "add:0"\n  value {\n    scale_d: 0.5\n    offset_d: 3\n  }\n}\n' in text
    )


def test_values_are_no_layers():
    """The layers of a record are those without a colon in their name."""
    record = parse_record(format_record(Record(LAYERS, value_grids={"add:0": ValueGrid(0.5, 3)})))
    assert list(record) == ["conv1/Conv2D"]


def test_a_record_of_values_alone_is_empty():
    """A record without layers quantises nothing."""
    text = 'record { key: "add:0" value { scale_d: 1 offset_d: 0 } }'
    with pytest.raises(EmptyRecordError, match="1 values, but no layers"):
        parse_record(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('key: "add:0" value { scale_d: 1 }', 'cannot find offset_d of layer "add:0"'),
        (
            'key: "add:0" value { scale_d: 1 offset_d: 0 scale_w: 1 offset_w: 0 }',
            'scale_w of value "add:0" in record is not wanted',
        ),
    ],
)
def test_a_broken_value_is_named(text, message):
    """An entry of a value has a scale and an offset, and no weight."""
    whole = format_record(Record(LAYERS)) + f"record {{ {text} }}"
    with pytest.raises(RecordError, match=message):
        parse_record(whole)


def test_show_and_diff_know_values():
    """A summary and a comparison have a row for each value, behind the layers."""
    first = Record(LAYERS, value_grids={"add:0": ValueGrid(0.5, -128)})
    other = {"add:0": ValueGrid(1.0, -128), "b:0": ValueGrid(1.0, 0)}
    second = Record(LAYERS, value_grids=other)
    rows = summarize_record(first)
    assert [row.name for row in rows] == ["conv1/Conv2D", "add:0"]
    assert (rows[1].minimum, rows[1].maximum) == (0.0, 127.5)
    assert [(row.name, row.reason) for row in compare_records(first, second)] == [
        ("conv1/Conv2D", ""),
        ("add:0", "scale_d"),
        ("b:0", "only in the second"),
    ]
