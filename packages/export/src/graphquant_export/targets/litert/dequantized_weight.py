"""Operators that make the float weight of a layer from its codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_export.targets.litert import names
from graphquant_export.targets.litert.schema import schema
from graphquant_export.targets.litert.stored_weight import StoredWeight
from graphquant_export.targets.litert.writer import ModelWriter

OPERATOR = schema.BuiltinOperator
FLOAT32, INT32 = schema.TensorType.FLOAT32, schema.TensorType.INT32

PREPARING = ("ADD", "DEQUANTIZE", "RESHAPE", "TRANSPOSE")
"""What may stand between the codes of a weight and the operator that takes it."""


def add_dequantized(writer: ModelWriter, stored: StoredWeight, like: Any) -> int:
    """The float weight: codes -> DEQUANTIZE -> [ADD] -> [RESHAPE -> TRANSPOSE].

    Args:
        writer: Where it is added.
        stored: The codes.
        like: The ``TensorT`` of the float weight.
    """
    name = names.weight_name(stored.layer)
    size = stored.codes.shape
    codes = writer.tensor(
        name,
        like,
        dtype=stored.dtype,
        quantization=stored.quantization(),
        data=stored.data(),
        shape=size,
    )
    value = writer.tensor(f"{name}{names.FLOAT}", like, shape=size)
    writer.operator(OPERATOR.DEQUANTIZE, stored.dequantize_version, [codes], [value])
    if stored.offset is not None:
        broadcast = [-1 if axis == stored.axis else 1 for axis in range(len(size))]
        offset = _constant(writer, f"{name}:offset", like, stored.offset.reshape(broadcast))
        shifted = writer.tensor(f"{name}{names.FLOAT}", like, shape=size)
        writer.operator(OPERATOR.ADD, 1, [value, offset], [shifted])
        value = shifted
    if stored.groups is not None:
        shape, order = (np.array(sizes, np.int32) for sizes in stored.groups)
        joined = writer.tensor(f"{name}{names.FLOAT}", like, shape=stored.groups[0])
        target = _constant(writer, f"{name}:shape", like, shape)
        writer.operator(OPERATOR.RESHAPE, 1, [value, target], [joined])
        value = writer.tensor(f"{name}{names.FLOAT}", like)
        axes = _constant(writer, f"{name}:order", like, order)
        writer.operator(OPERATOR.TRANSPOSE, 1, [joined, axes], [value])
    return value


def _constant(writer: ModelWriter, name: str, like: Any, value: npt.NDArray[Any]) -> int:
    dtype = FLOAT32 if value.dtype == np.float32 else INT32
    return writer.tensor(name, like, dtype=dtype, data=value.tobytes(), shape=value.shape)
