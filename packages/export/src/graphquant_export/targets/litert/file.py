"""What a .tflite file holds: its tensors by name, its operators, who gives and who takes what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_export.targets.litert.schema import (
    TYPE_NAMES,
    model_bytes,
    operator_name,
    read_model,
)

Array = npt.NDArray[Any]


@attrs.frozen(eq=False)
class FileOperator:
    """An operator: ``"CONV_2D"`` and so on, and the tensors that it takes and returns."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class LiteRtFile:
    """The tables of the file with the bytes `content`.

    Raises:
        ModelFileError: They are not those of a .tflite file; names `argument`.
    """

    def __init__(self, content: bytes, argument: str = "model") -> None:
        self._model = read_model(content, argument)
        graph = self._model.subgraphs[0]
        self.operators = tuple(
            FileOperator(
                operator_name(self._model, operator),
                tuple(int(index) for index in operator.inputs),
                tuple(int(index) for index in operator.outputs),
            )
            for operator in graph.operators
        )
        self._givers = {index: op for op in self.operators for index in op.outputs}
        self._indices = {tensor.name.decode(): i for i, tensor in enumerate(graph.tensors)}
        signature = (self._model.signatureDefs or [None])[0]
        self.inputs, self.outputs = (
            {} if entries is None else {e.name.decode(): int(e.tensorIndex) for e in entries}
            for entries in (getattr(signature, "inputs", None), getattr(signature, "outputs", None))
        )

    def find(self, name: str) -> int | None:
        """Index of the tensor called `name`."""
        return self._indices.get(name)

    def name(self, tensor: int) -> str:
        """Name of `tensor`."""
        return str(self._tensor(tensor).name.decode())

    def dtype(self, tensor: int) -> str:
        """Type of `tensor`: ``"int8"``, ``"float32"`` and so on."""
        return TYPE_NAMES[self._tensor(tensor).type].lower()

    def grid(self, tensor: int) -> tuple[Array, Array] | None:
        """(scale, zero point) of `tensor`, each ``[C]``; ``None`` when it has none."""
        found = self._tensor(tensor).quantization
        if found is None or found.scale is None or not len(found.scale):
            return None
        return np.asarray(found.scale, np.float32), np.asarray(found.zeroPoint, np.int64)

    def giver(self, tensor: int) -> FileOperator | None:
        """The operator that returns `tensor`; ``None`` for an input and for a constant."""
        return self._givers.get(tensor)

    def before_dequantizing(self, tensor: int) -> int:
        """What `tensor` is the float value of; `tensor` itself when that isn't an integer."""
        giver = self.giver(tensor)
        return giver.inputs[0] if giver is not None and giver.kind == "DEQUANTIZE" else tensor

    def takers(self, tensor: int) -> Iterator[FileOperator]:
        """The operators that take `tensor`."""
        return (op for op in self.operators if tensor in op.inputs)

    def quantized(self, tensor: int, value: Array) -> Array:
        """`value` in the type of the input `tensor`."""
        grid = self.grid(tensor)
        if grid is None or self.dtype(tensor) != "int8":
            return value
        scale, zero_point = grid
        return np.clip(np.rint(value / scale) + zero_point, -128, 127).astype(np.int8)

    def dequantized(self, tensor: int, value: Array) -> Array:
        """float32 of `value`, which the file has for `tensor`; other types stay as they are."""
        grid = self.grid(tensor)
        if grid is None or self.dtype(tensor) != "int8":
            return value
        scale, zero_point = grid
        return np.asarray((value.astype(np.float32) - zero_point) * scale, np.float32)

    def with_outputs(self, tensors: list[int]) -> bytes:
        """The bytes of the same model whose outputs are `tensors`."""
        graph = self._model.subgraphs[0]
        kept, signatures = graph.outputs, self._model.signatureDefs
        graph.outputs, self._model.signatureDefs = tensors, None
        try:
            return model_bytes(self._model)
        finally:
            graph.outputs, self._model.signatureDefs = kept, signatures

    def _tensor(self, index: int) -> Any:
        return self._model.subgraphs[0].tensors[index]
