"""What a model was exported with: a record, or the compression parameters of weights alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_COMPRESSION_PARAMETERS = (".json", ".bin")


def read_factors(path: Path) -> Any:
    """The LayerParams in a .json or .bin file, else the record at `path`.

    Raises:
        ModelFileError: The file can't be read.
        RecordError, EmptyRecordError: It holds no record.
    """
    if path.suffix in _COMPRESSION_PARAMETERS:
        from graphquant_export.targets.mnn import read_compress_params

        return read_compress_params(path)
    from graphquant_core.record import read_record

    return read_record(path)
