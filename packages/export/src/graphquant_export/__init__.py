"""Record files, freezing, batch-norm folding and exporters of graphquant.

Importing this package starts no TensorFlow.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from graphquant_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from graphquant_core.record import (
        LayerFactors,
        Record,
        format_record,
        parse_record,
        read_record,
        validate_record,
        write_record,
    )
    from graphquant_export.quantized.simulate import simulate

__all__ = [
    "LayerFactors",
    "Record",
    "__version__",
    "format_record",
    "parse_record",
    "read_record",
    "simulate",
    "validate_record",
    "write_record",
]

__version__ = version("graphquant-export")

__getattr__ = lazy_names(
    __name__,
    {name: "graphquant_core.record" for name in __all__ if name != "__version__"}
    | {"simulate": "graphquant_export.quantized.simulate"},
)
