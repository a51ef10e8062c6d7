"""The ops of TensorLists and TensorArrays, on lists of the names of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from graphquant_export.loops.scope import Scope
from graphquant_export.loops.values import OpenLoopError, Rows, TensorList, Value

ListOp = Callable[[Scope, tf.Operation], Sequence[Value]]


def _integer(scope: Scope, tensor: tf.Tensor) -> int:
    return int(scope.number(tensor))


def _places(scope: Scope, tensor: tf.Tensor) -> list[int]:
    return [int(place) for place in scope.number(tensor)]


def _empty(length: int | None, results: int = 1) -> ListOp:
    def apply(scope: Scope, op: tf.Operation) -> Sequence[Value]:
        count = 0 if length is None else _integer(scope, op.inputs[length])
        return [TensorList((None,) * count)] * results

    return apply


def _from_tensor(scope: Scope, op: tf.Operation) -> Sequence[Value]:
    tensor = op.inputs[0]
    if _length_of(tensor) is None:
        return [Rows(scope.tensor(tensor))]
    return [TensorList(_unpacked(scope, op, tensor))]


def _scatter(tensor: int, places: int, into: int | None = None) -> ListOp:
    def apply(scope: Scope, op: tf.Operation) -> Sequence[Value]:
        elements = _unpacked(scope, op, op.inputs[tensor])
        result = TensorList(()) if into is None else scope.list_of(op.inputs[into])
        for place, element in zip(_places(scope, op.inputs[places]), elements, strict=True):
            result = result.written(place, element)
        return [result]

    return apply


def _unpacked(scope: Scope, op: tf.Operation, tensor: tf.Tensor) -> tuple[str, ...]:
    length = _length_of(tensor)
    if length is None:
        raise OpenLoopError(f'the length of "{tensor.op.name}" ({tensor.op.type}) is not static')
    taken = [scope.tensor(tensor)]
    name = scope.add(op, "Unpack", taken, T=tensor.dtype, num=length, axis=0)
    return (name, *(f"{name}:{index}" for index in range(1, length)))


def _length_of(tensor: tf.Tensor) -> int | None:
    return tensor.shape[0] if tensor.shape.rank else None


def _read(values: int, place: int) -> ListOp:
    def apply(scope: Scope, op: tf.Operation) -> Sequence[Value]:
        index, taken = _integer(scope, op.inputs[place]), scope.value(op.inputs[values])
        if isinstance(taken, Rows):
            return [_row(scope, op, taken.rows, index)]
        return [scope.list_of(op.inputs[values]).read(index)]

    return apply


def _row(scope: Scope, op: tf.Operation, rows: str, index: int) -> str:
    ends = [scope.constant(op, value) for value in ([index], [index + 1], [1])]
    types = {"T": op.outputs[0].dtype, "Index": tf.int32}
    return scope.put(op, "StridedSlice", [rows, *ends], shrink_axis_mask=1, **types)


def _write(values: int, place: int, item: int) -> ListOp:
    def apply(scope: Scope, op: tf.Operation) -> Sequence[Value]:
        written = scope.list_of(op.inputs[values])
        return [written.written(_integer(scope, op.inputs[place]), scope.tensor(op.inputs[item]))]

    return apply


def _push(scope: Scope, op: tf.Operation) -> Sequence[Value]:
    values = scope.list_of(op.inputs[0])
    return [values.written(len(values.elements), scope.tensor(op.inputs[1]))]


def _pop(scope: Scope, op: tf.Operation) -> Sequence[Value]:
    elements = scope.list_of(op.inputs[0]).all()
    if not elements:
        raise OpenLoopError(f'"{op.name}" ({op.type}) takes from an empty list')
    return [TensorList(elements[:-1]), elements[-1]]


def _stack(scope: Scope, op: tf.Operation) -> Sequence[Value]:
    return [_packed(scope, op, scope.list_of(op.inputs[0]).all())]


def _gather(values: int, places: int) -> ListOp:
    def apply(scope: Scope, op: tf.Operation) -> Sequence[Value]:
        taken = scope.list_of(op.inputs[values])
        chosen = [taken.read(place) for place in _places(scope, op.inputs[places])]
        return [_packed(scope, op, chosen)]

    return apply


def _packed(scope: Scope, op: tf.Operation, elements: Sequence[str]) -> str:
    if not elements:
        raise OpenLoopError(f'"{op.name}" ({op.type}) stacks an empty list')
    dtype, count = op.outputs[0].dtype, len(elements)
    return scope.put(op, "Pack", list(elements), T=dtype, N=count, axis=0)


def _length(values: int) -> ListOp:
    def apply(scope: Scope, op: tf.Operation) -> Sequence[Value]:
        return [np.array(len(scope.list_of(op.inputs[values]).elements), np.int32)]

    return apply


def _same(scope: Scope, op: tf.Operation) -> Sequence[Value]:
    return [scope.value(op.inputs[0])]


_LIST_OPS: dict[str, ListOp] = {
    "TensorListReserve": _empty(1),
    "EmptyTensorList": _empty(None),
    "TensorListFromTensor": _from_tensor,
    "TensorListScatterV2": _scatter(0, 1),
    "TensorListScatterIntoExistingList": _scatter(1, 2, into=0),
    "TensorListGetItem": _read(0, 1),
    "TensorListSetItem": _write(0, 1, 2),
    "TensorListPushBack": _push,
    "TensorListPopBack": _pop,
    "TensorListStack": _stack,
    "TensorListGather": _gather(0, 1),
    "TensorListLength": _length(0),
    "TensorArrayV3": _empty(0, results=2),
    "TensorArrayScatterV3": _scatter(2, 1),
    "TensorArrayReadV3": _read(2, 1),
    "TensorArrayWriteV3": _write(3, 1, 2),
    "TensorArrayGatherV3": _gather(2, 1),
    "TensorArraySizeV3": _length(1),
}


def list_op(scope: Scope, op: tf.Operation) -> ListOp | None:
    """How `op` is computed on lists; ``None`` for an op of tensors alone."""
    if op.type == "Identity" and isinstance(
        scope.values.get(op.inputs[0].name), (Rows, TensorList)
    ):
        return _same
    return _LIST_OPS.get(op.type)
