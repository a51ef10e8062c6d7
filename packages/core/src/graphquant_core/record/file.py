"""Record files."""

from __future__ import annotations

import os

from graphquant_core.exceptions import RecordError
from graphquant_core.files import read_bytes, write_whole
from graphquant_core.record.factors import Record
from graphquant_core.record.text import MAX_CHARACTERS, format_record, parse_record


def read_record(path: str | os.PathLike[str]) -> Record:
    """The record in the file at `path`.

    Raises:
        ModelFileError: The file can't be read.
        EmptyRecordError: It holds no layer.
        RecordError: It isn't UTF-8 text, it is malformed, or it isn't complete.
    """
    content = read_bytes(path, "record_file", MAX_CHARACTERS)
    source = f"record_file ({os.fspath(path)})"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(
            f"{source} is no text: byte {error.start} is not part of a UTF-8 character"
        ) from error
    return parse_record(text, source)


def write_record(path: str | os.PathLike[str], record: Record) -> None:
    """Writes `record` to `path`, whole or not at all.

    Raises:
        FileWriteError: The file can't be written.
    """
    write_whole(path, format_record(record))
