"""The .tflite file: its tables as Python objects, read and written. It imports TensorFlow."""

from __future__ import annotations

import struct
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
from tensorflow.lite.python import schema_py_generated as schema

from graphquant_core.exceptions import ModelFileError

__all__ = [
    "OPERATOR_NAMES",
    "TYPE_NAMES",
    "model_bytes",
    "operator_name",
    "read_model",
    "schema",
]

IDENTIFIER = b"TFL3"
_ALIGNMENT = 16


def _names(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if not name.startswith("_")}


OPERATOR_NAMES = _names(schema.BuiltinOperator)
"""Name of each built-in operator, by its code."""

TYPE_NAMES = _names(schema.TensorType)
"""Name of each tensor type, by its code."""


def read_model(content: bytes, argument: str = "model") -> Any:
    """The tables in `content`, the bytes of a .tflite file, as a ``ModelT``.

    Raises:
        ModelFileError: They are not those of a .tflite file; names `argument`.
    """
    if content[4:8] != IDENTIFIER:
        raise ModelFileError(f"{argument} is not a .tflite file")
    try:
        return schema.ModelT.InitFromPackedBuf(content, 0)
    except (IndexError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise ModelFileError(f"{argument} is a broken .tflite file: {error}") from error


def model_bytes(model: Any) -> bytes:
    """The bytes of the file with the tables of `model`, a ``ModelT``."""
    builder = _AlignedBuilder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def operator_name(model: Any, operator: Any) -> str:
    """``"CONV_2D"`` and so on; ``"CUSTOM"`` for an operator that is not built in."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Files hold a code below 127 in the older, narrower field.
    return OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Aligns the bytes of buffers as the schema asks, which generated Python code leaves out."""

    def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
        aligned = max(alignment, _ALIGNMENT) if size == 1 else alignment
        return super().StartVector(size, count, aligned)
