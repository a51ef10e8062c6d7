"""Records that nobody wrote on purpose. ``--hypothesis-profile=fuzz`` tries many more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphquant_core.exceptions import GraphQuantError
from graphquant_core.record import format_record, parse_record, read_record
from graphquant_core.testing import damaged

VALID = b"""record {
  key: "conv1/Conv2D"
  value {
    scale_d: 0.0235294122
    offset_d: -128
    scale_w: 0.001
    scale_w: 0.002
    offset_w: 0
    offset_w: 0
    skip_fusion: true
    dst_type: "INT8"
    shift_bit: 3
    tensor_balance_factor: 1.5
  }
}
record {
  key: "pool"
  value {
    scale_d: 1
    offset_d: 0
  }
}
prune_record {
  producer {
    name: "p"
    attr {
      name: "n"
      type: STRINGS
      strings: "a\\377"
      ints: 9223372036854775807
    }
  }
}
"""
PIECES = (
    b"record {",
    b"value {",
    b"producer {",
    b"producer {}",
    b"selective_prune {}",
    b"attr {}",
    b"}",
    b'key: "pool"',
    b'key: "\\377"',
    b"scale_d: nan",
    b"scale_w: [1, 2, 3]",
    b"offset_d: 2147483648",
    b"type: 99",
    b"type: STRING",
    b"[a.b]: 1",
)
EXAMPLES = max(300, settings().max_examples)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("record") / "record.txt"


@settings(max_examples=EXAMPLES)
@given(content=damaged(VALID, PIECES) | st.binary(max_size=100))
def test_a_damaged_record_is_read_or_refused(
    content: bytes, path: Path, attempt: Callable[[Callable[[], Any]], Any]
) -> None:
    """Any bytes are a record that survives its own text, or a GraphQuantError; in bounded time
    and memory.
    """
    path.write_bytes(content)
    record = attempt(lambda: read_record(path))
    if isinstance(record, GraphQuantError):
        return
    again = parse_record(format_record(record))
    assert list(again) == list(record)
    assert format_record(again) == format_record(record)
