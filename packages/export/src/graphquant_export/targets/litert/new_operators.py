"""Operators and tensors that the converter didn't make, in the tables of its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_export.targets.litert.float_graph import Edge
from graphquant_export.targets.litert.schema import schema

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
}


def new_operator(model: Any, kind: str, options_type: str, options: Any) -> Any:
    """The ``OperatorT`` of a `kind` of operator with `options`, a table of `options_type`."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
    code.version = 1
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_type)
    operator.builtinOptions = options
    return operator


def new_constant(model: Any, name: str, value: npt.NDArray[Any]) -> Edge:
    """A constant with `value`, float32 or int32."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(value.tobytes(), np.uint8)
    model.buffers.append(buffer)
    dtype = _TYPES[value.dtype]
    return Edge(_tensor(model, name, value.shape, dtype, len(model.buffers) - 1))


def new_value(model: Any, name: str, shape: Sequence[int]) -> int:
    """The index of a float32 tensor that an operator returns.

    Args:
        model: The tables.
        name: Its name.
        shape: Its sizes, -1 for one that isn't static.
    """
    known = [max(size, 1) for size in shape]
    index = _tensor(model, name, known, schema.TensorType.FLOAT32, 0)
    tensor = model.subgraphs[0].tensors[index]
    if any(size < 0 for size in shape):
        tensor.shapeSignature = np.array(shape, np.int32)
    return index


def _tensor(model: Any, name: str, shape: Sequence[int], dtype: int, buffer: int) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
    tensor.type, tensor.buffer = dtype, buffer
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1
