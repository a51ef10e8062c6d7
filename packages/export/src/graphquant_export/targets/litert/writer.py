"""Builds the tables of a .tflite file, one tensor and one operator after the other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_export.targets.litert.schema import schema

Array = npt.NDArray[Any]


class ModelWriter:
    """A model with one signature, whose tensors are put in one by one.

    Args:
        source: The model that tensors and operators are copied from.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._model = schema.ModelT()
        self._model.version = source.version
        self._model.description = source.description
        self._model.operatorCodes = []
        self._model.buffers = []
        self._subgraph = schema.SubGraphT()
        self._subgraph.name = source.subgraphs[0].name
        self._subgraph.tensors, self._subgraph.operators = [], []
        self._codes: dict[tuple[int, int, bytes | None], int] = {}
        self._buffers: dict[bytes, int] = {}
        self._names: set[str] = set()
        # Buffer 0 is the empty one, by convention.
        self._buffer(b"")

    def tensor(
        self,
        name: str,
        like: Any,
        *,
        dtype: int | None = None,
        quantization: Any = None,
        data: bytes | None = None,
        shape: Sequence[int] | None = None,
    ) -> int:
        """Index of a new tensor with the shape of `like`, or with `shape`.

        Args:
            name: Its name; a number is put behind one that is taken.
            like: A ``TensorT`` of the source.
            dtype: Its type; that of `like` by default.
            quantization: Its ``QuantizationParametersT``.
            data: Its value, when it is constant.
            shape: Its shape when it is another than that of `like`.
        """
        added = schema.TensorT()
        added.name = self._free(name)
        added.shape = like.shape if shape is None else np.asarray(shape, np.int32)
        added.shapeSignature = like.shapeSignature if shape is None else None
        added.hasRank = like.hasRank
        added.type = like.type if dtype is None else dtype
        added.quantization = quantization
        added.buffer = self._buffer(data or b"")
        self._subgraph.tensors.append(added)
        return len(self._subgraph.tensors) - 1

    def copied_tensor(self, name: str, index: int) -> int:
        """Index of a copy of the tensor `index` of the source, its value included."""
        original = self._source.subgraphs[0].tensors[index]
        data = self._source.buffers[original.buffer].data
        content = None if data is None else np.asarray(data, np.uint8).tobytes()
        return self.tensor(name, original, quantization=original.quantization, data=content)

    def operator(
        self, code: int, version: int, inputs: Sequence[int], outputs: Sequence[int]
    ) -> None:
        """Adds an operator without options."""
        added = schema.OperatorT()
        added.opcodeIndex = self._code(code, version, None)
        self._append(added, inputs, outputs)

    def copied_operator(
        self, original: Any, version: int, inputs: Sequence[int], outputs: Sequence[int]
    ) -> None:
        """Adds an operator of the source, at least in `version`, with other tensors."""
        code = self._source.operatorCodes[original.opcodeIndex]
        added = copy.copy(original)
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        added.opcodeIndex = self._code(number, max(code.version, version), code.customCode)
        self._append(added, inputs, outputs)

    def finish(self, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
        """The ``ModelT`` with the tensors `inputs` and `outputs` by their names."""
        self._subgraph.inputs = list(inputs.values())
        self._subgraph.outputs = list(dict.fromkeys(outputs.values()))
        signature = schema.SignatureDefT()
        signature.signatureKey = "serving_default"
        signature.inputs = [_named(name, index) for name, index in inputs.items()]
        signature.outputs = [_named(name, index) for name, index in outputs.items()]
        self._model.subgraphs = [self._subgraph]
        self._model.signatureDefs = [signature]
        return self._model

    def _append(self, operator: Any, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        self._subgraph.operators.append(operator)

    def _code(self, number: int, version: int, custom: bytes | None) -> int:
        key = (number, version, custom)
        if key not in self._codes:
            added = schema.OperatorCodeT()
            placeholder = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
            added.deprecatedBuiltinCode = min(number, placeholder)
            added.builtinCode, added.version, added.customCode = number, version, custom
            self._model.operatorCodes.append(added)
            self._codes[key] = len(self._codes)
        return self._codes[key]

    def _buffer(self, data: bytes) -> int:
        if data not in self._buffers:
            added = schema.BufferT()
            added.data = np.frombuffer(data, np.uint8) if data else None
            self._model.buffers.append(added)
            self._buffers[data] = len(self._buffers)
        return self._buffers[data]

    def _free(self, name: str) -> str:
        candidate, number = name, 0
        while candidate in self._names:
            number += 1
            candidate = f"{name}_{number}"
        self._names.add(candidate)
        return candidate


def _named(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def quantization(scale: npt.ArrayLike, zero_point: npt.ArrayLike, axis: int = 0) -> Any:
    """The ``QuantizationParametersT`` with float32 `scale` and int64 `zero_point`, both ``[C]``."""
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.atleast_1d(np.asarray(scale, np.float32))
    parameters.zeroPoint = np.atleast_1d(np.asarray(zero_point, np.int64))
    parameters.quantizedDimension = axis
    return parameters
