"""Record text as AMCT, a training graph and `format_record` write it, read without a tokenizer.

protobuf's parser takes every layout and five seconds for a record of 27,000 channels. What isn't
written in just this layout is left to it.
"""

from __future__ import annotations

import re
from typing import Any

from graphquant_core.record.schema import ScaleOffsetRecord

# Plain numbers only: what begins with 0 is octal, and what is out of range an error of protobuf's.
_FLOAT = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?"
_INT = r"-?(?:0|[1-9][0-9]{0,8})"
_STRING = r'"([ !#-\[\]-~]*)"'
_ENTRY = re.compile(
    rf"record \{{\n  key: {_STRING}\n  value \{{\n"
    rf"    scale_d: ({_FLOAT})\n    offset_d: ({_INT})\n"
    rf"((?:    scale_w: {_FLOAT}\n)*)((?:    offset_w: {_INT}\n)*)"
    rf"(?:    dst_type: {_STRING}\n)?((?:    tensor_balance_factor: {_FLOAT}\n)*)"
    r"  \}\n\}\n"
)


def parse_written(text: str) -> Any | None:
    """The ScaleOffsetRecord that protobuf reads in `text`; ``None`` where the layout is another."""
    message, position = ScaleOffsetRecord(), 0
    while position < len(text):
        found = _ENTRY.match(text, position)
        if found is None:
            return None
        key, scale_d, offset_d, scale_w, offset_w, dst_type, balance = found.groups()
        value = message.record.add(key=key).value
        value.scale_d, value.offset_d = float(scale_d), int(offset_d)
        value.scale_w.extend(map(float, _numbers(scale_w)))
        value.offset_w.extend(map(int, _numbers(offset_w)))
        value.tensor_balance_factor.extend(map(float, _numbers(balance)))
        if dst_type is not None:
            value.dst_type = dst_type
        position = found.end()
    return message


def _numbers(lines: str) -> list[str]:
    """The second word of each line."""
    return lines.split()[1::2]
