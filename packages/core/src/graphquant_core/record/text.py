"""Record text: ``record { key: "conv1" value { scale_d: 0.0235294122 offset_d: -128 ... } }``."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor

from graphquant_core.exceptions import EmptyRecordError, RecordError
from graphquant_core.protobuf_schema import field_names
from graphquant_core.record.factors import LayerFactors, Record
from graphquant_core.record.schema import MapFiledEntry, ScaleOffsetRecord, SingleLayerRecord
from graphquant_core.record.written_text import parse_written
from graphquant_core.suggestions import closest
from graphquant_core.value_grid import ValueGrid

# A record of a thousand layers with a thousand channels each has about 35 MB.
MAX_CHARACTERS = 256 * 2**20

_BIAS = ":bias"
"""Ends the name of an entry whose scale_w are the corrections of a layer's biases."""

_VALUE = re.compile(r":\d+$")
"""Ends the name of a tensor, ``"add:0"``, and no name of an op has a colon: so a value is told."""

_MODELLED = (
    "scale_d",
    "offset_d",
    "scale_w",
    "offset_w",
    "dst_type",
    "skip_fusion",
    "tensor_balance_factor",
)
_POSITION = re.compile(r"^\d+:\d+ : ")
_FIELD_NAMES = [
    name
    for message in (ScaleOffsetRecord, MapFiledEntry, SingleLayerRecord)
    for name in field_names(message)
]
_UNKNOWN_FIELD = re.compile(r'has no field named "([^"]+)"')


def parse_record(text: str, source: str = "record") -> Record:
    """The record that `text` holds.

    Args:
        text: Record text, as AMCT and `format_record` write it.
        source: What error messages call the text, such as the path of its file.

    Raises:
        EmptyRecordError: The text holds no layer.
        RecordError: The text is malformed (names the line), a layer is there twice, or a layer
            has no scale_d or no offset_d.
    """
    if len(text) > MAX_CHARACTERS:
        raise RecordError(f"{source} has {len(text)} characters, {MAX_CHARACTERS} are allowed")
    message = parse_written(text) or _parse(text, source)
    if not message.record:
        raise EmptyRecordError(
            f"{source} is empty, no layers to be quantized. Please confirm the process of retrain "
            "quantification: whether the inference process is omitted after the training!"
        )
    factors: dict[str, LayerFactors] = {}
    values: dict[str, ValueGrid] = {}
    corrections: dict[str, LayerFactors] = {}
    for entry in message.record:
        if not entry.key:
            raise RecordError(f"{source} has an entry without key")
        if any(entry.key in known for known in (factors, values, corrections)):
            raise RecordError(f'{source} has layer "{entry.key}" twice')
        if _VALUE.search(entry.key):
            values[entry.key] = _read_value(entry, source)
        elif entry.key.endswith(_BIAS):
            corrections[entry.key] = _read_layer(entry, source)
        else:
            factors[entry.key] = _read_layer(entry, source)
    if not factors:
        raise EmptyRecordError(f"{source} has {len(values)} values, but no layers to be quantized")
    message.ClearField("record")
    factors = _with_corrections(factors, corrections, source)
    return Record(factors, message.SerializeToString(deterministic=True), values)


def _parse(text: str, source: str) -> Any:
    """The ScaleOffsetRecord in `text`, whatever its layout.

    Raises:
        RecordError: The text is malformed.
    """
    message = ScaleOffsetRecord()
    try:
        text_format.Parse(text, message)
    except (text_format.ParseError, RecursionError, UnicodeError) as error:
        raise RecordError(f"{source} is malformed{_explanation(error)}") from error
    return message


def format_record(record: Record) -> str:
    """`record` as text; ``parse_record(format_record(record)) == record``.

    A float has 6 digits when they are enough for its float32 value, else 9, as protobuf's own
    printer and hence AMCT write it.
    """
    message = ScaleOffsetRecord.FromString(record.other)
    for name, factors in record.items():
        message.record.add(key=name, value=_write_layer(factors))
    for name, factors in record.items():
        if factors.bias_correction is not None:
            entry = LayerFactors(1.0, 0, factors.bias_correction)
            message.record.add(key=f"{name}{_BIAS}", value=_write_layer(entry))
    for name, grid in record.value_grids.items():
        value = _write_layer(LayerFactors(grid.scale, grid.zero_point))
        message.record.add(key=name, value=value)
    return "".join(f"{line}\n" for line in _lines(message, ""))


def _with_corrections(
    factors: dict[str, LayerFactors], corrections: dict[str, LayerFactors], source: str
) -> dict[str, LayerFactors]:
    found = dict(factors)
    for key, entry in corrections.items():
        name = key.removesuffix(_BIAS)
        if name not in found or entry.scale_w is None:
            raise RecordError(f'{source} has "{key}", but no layer "{name}" or no scale_w in it')
        found[name] = attrs.evolve(found[name], bias_correction=entry.scale_w)
    return found


def _read_layer(entry: Any, source: str) -> LayerFactors:
    value = entry.value
    for name in ("scale_d", "offset_d"):
        if not value.HasField(name):
            raise RecordError(
                f'cannot find {name} of layer "{entry.key}" in {source}, please check the data '
                "calibration process"
            )
    other = SingleLayerRecord()
    other.CopyFrom(value)
    for name in _MODELLED:
        other.ClearField(name)
    return LayerFactors(
        scale_d=value.scale_d,
        offset_d=value.offset_d,
        scale_w=list(value.scale_w) or None,
        offset_w=list(value.offset_w) or None,
        dst_type=value.dst_type if value.HasField("dst_type") else None,
        skip_fusion=value.skip_fusion if value.HasField("skip_fusion") else None,
        balance=list(value.tensor_balance_factor) or None,
        other=other.SerializeToString(deterministic=True),
    )


def _read_value(entry: Any, source: str) -> ValueGrid:
    factors = _read_layer(entry, source)
    if factors.scale_w is not None:
        raise RecordError(f'scale_w of value "{entry.key}" in {source} is not wanted')
    return factors.activation_grid


def _write_layer(factors: LayerFactors) -> Any:
    value = SingleLayerRecord.FromString(factors.other)
    value.scale_d = factors.scale_d
    value.offset_d = factors.offset_d
    if factors.scale_w is not None:
        value.scale_w.extend(factors.scale_w.tolist())
    if factors.offset_w is not None:
        value.offset_w.extend(factors.offset_w.tolist())
    if factors.dst_type is not None:
        value.dst_type = factors.dst_type
    if factors.skip_fusion is not None:
        value.skip_fusion = factors.skip_fusion
    if factors.balance is not None:
        value.tensor_balance_factor.extend(factors.balance.tolist())
    return value


def _lines(message: Any, indent: str) -> Iterator[str]:
    for field, value in message.ListFields():
        several = hasattr(value, "extend")
        for item in value if several else (value,):
            if field.message_type is not None:
                yield f"{indent}{field.name} {{"
                yield from _lines(item, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{field.name}: {_scalar(field, item)}"


def _scalar(field: Any, value: Any) -> str:
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return format_float32(value)
    out = io.StringIO()
    text_format.PrintFieldValue(field, value, out, as_utf8=True)
    return out.getvalue()


def format_float32(value: float) -> str:
    """Shortest of ``%.6g`` and ``%.9g`` that reads back as the same float32."""
    short = f"{value:.6g}"
    return short if np.float32(short) == np.float32(value) else f"{value:.9g}"


def _explanation(error: Exception) -> str:
    """`` in line 3: ...``: protobuf's own words, cut to a line, with the closest field names."""
    text = _POSITION.sub("", str(error)).rstrip(".").replace("\n", " ")
    line = getattr(error, "GetLine", lambda: None)()
    unknown = _UNKNOWN_FIELD.search(text)
    hint = closest(unknown.group(1), _FIELD_NAMES) if unknown else ""
    return f"{f' in line {line}' if line else ''}: {text[:200]}{hint}"
