"""A piece that is written into a graph without loops: what its tensors are there."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_export.loops.numbers import Numbers
from graphquant_export.loops.piece import Piece
from graphquant_export.loops.values import OpenLoopError, Rows, TensorList, Value


@attrs.frozen(eq=False)
class Scope:
    """Where ops of a piece are written to.

    Attributes:
        editor: The graph without loops.
        piece: The piece.
        prefix: What names of ops begin with; ``None`` for the graph itself, whose ops stay in
            their places.
        values: What each tensor of the piece that was written is.
        numbers: Evaluates what isn't written: what follows from constants and counters.
        known: The arguments whose values are known, by index.
        data: The ops of the piece that change with what isn't known.
    """

    editor: GraphDefEditor
    piece: Piece
    prefix: str | None
    values: MutableMapping[str, Value]
    numbers: Numbers
    known: dict[int, npt.NDArray[Any]]
    data: set[tf.Operation]

    def value(self, tensor: tf.Tensor) -> Value:
        """What `tensor` is."""
        written = self.values.get(tensor.name)
        return self.number(tensor) if written is None else written

    def result(self, index: int, *, known: bool) -> Value:
        """What the result `index` of the piece is; a number where it is `known`."""
        tensor = self.piece.results[index]
        return self.number(tensor) if known else self.value(tensor)

    def is_known(self, tensor: tf.Tensor) -> bool:
        """Whether `tensor` is a number that depends on nothing but constants and counters."""
        numeric = tensor.dtype.base_dtype not in (tf.variant, tf.resource)
        fixed = tensor.op not in self.data
        return numeric and (fixed or isinstance(self.values.get(tensor.name), np.ndarray))

    def number(self, tensor: tf.Tensor) -> npt.NDArray[Any]:
        """The value of `tensor`.

        Raises:
            OpenLoopError: It depends on data.
        """
        written = self.values.get(tensor.name)
        if isinstance(written, np.ndarray):
            return written
        if not self.is_known(tensor):
            raise OpenLoopError(f'"{tensor.op.name}" ({tensor.op.type}) depends on the inputs')
        return self.numbers.evaluate(self.piece, tensor, self.known)

    def tensor(self, tensor: tf.Tensor) -> str:
        """Name of what `tensor` is.

        Raises:
            OpenLoopError: It is a list of tensors.
        """
        value = self.value(tensor)
        if isinstance(value, (Rows, TensorList)):
            if value.tensor is None:
                raise OpenLoopError(f'"{tensor.op.name}" ({tensor.op.type}) is a list of tensors')
            return value.tensor
        if isinstance(value, str):
            return value
        self.values[tensor.name] = added = self.constant(tensor.op, value)
        return added

    def constant(self, op: tf.Operation, value: npt.ArrayLike) -> str:
        """Adds a constant for `op`, int32 where it is a list of integers; its name."""
        array = value if isinstance(value, np.ndarray) else np.asarray(value, np.int32)
        return self.editor.add(const_node(self.editor.unique_name(self._name(op, "const")), array))

    def list_of(self, tensor: tf.Tensor) -> TensorList:
        """The list that `tensor` is.

        Raises:
            OpenLoopError: How long it is isn't known.
        """
        value = self.value(tensor)
        if isinstance(value, TensorList):
            return value
        raise OpenLoopError(f'the length of "{tensor.op.name}" ({tensor.op.type}) is not static')

    def add(self, op: tf.Operation, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """Adds an op for `op` of another type; its name."""
        name = self.editor.unique_name(self._name(op, op_type))
        return self.editor.add(node_def(name, op_type, inputs, **attributes))

    def put(self, op: tf.Operation, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """Adds an op that stands for `op`, under its name where that stays; its name."""
        if self.prefix is not None:
            return self.add(op, op_type, inputs, **attributes)
        self.editor.replace(node_def(op.name, op_type, inputs, **attributes))
        return str(op.name)

    def copy(self, op: tf.Operation) -> None:
        """Writes `op` as it is, with what its inputs are."""
        taken = [self.tensor(tensor) for tensor in op.inputs]
        name = op.name
        if self.prefix is None:
            for port, value in enumerate(taken):
                self.editor.set_input(name, port, value)
        else:
            name = self.editor.unique_name(self._name(op))
            self.editor.add(_copied(op, name, taken))
        for index, tensor in enumerate(op.outputs):
            self.values[tensor.name] = tensor_name(f"{name}:{index}")

    def _name(self, op: tf.Operation, *ending: str) -> str:
        name = op.name
        if self.prefix is not None:
            name = self.prefix + name.removeprefix(self.piece.scope)
        return "/".join([name, *ending])


def _copied(op: tf.Operation, name: str, inputs: list[str]) -> tf.compat.v1.NodeDef:
    if op.type == "MatMul" and op.get_attr("T") == tf.float32:
        # What takes a MatMul for a layer stores its weight in it, and so once for each step.
        adjoint = {f"adj_{key}": op.get_attr(f"transpose_{side}") for key, side in ("xa", "yb")}
        return node_def(name, "BatchMatMulV2", inputs, T=tf.float32, **adjoint)
    node = tf.compat.v1.NodeDef()
    node.CopyFrom(op.node_def)
    node.name = name
    node.input[:] = inputs
    return node
