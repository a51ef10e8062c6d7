"""The record of scales and offsets, in AMCT's text format. It imports no TensorFlow."""

from __future__ import annotations

from graphquant_core.record.factors import LayerFactors, Record
from graphquant_core.record.file import read_record, write_record
from graphquant_core.record.text import format_record, parse_record
from graphquant_core.record.validate import validate_record

__all__ = [
    "LayerFactors",
    "Record",
    "format_record",
    "parse_record",
    "read_record",
    "validate_record",
    "write_record",
]
