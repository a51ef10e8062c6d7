"""Writes the units of a piece into a graph without loops."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Sequence
from typing import Any

import attrs
import tensorflow as tf

from graphquant_export.loops.known import known_values
from graphquant_export.loops.list_ops import list_op
from graphquant_export.loops.loop import Loop
from graphquant_export.loops.scope import Scope
from graphquant_export.loops.units import Unit, outputs_of, units_of
from graphquant_export.loops.values import OpenLoopError, Rows, TensorList, Value

_MOST_OPS = 50_000
"""So many ops a loop may become: converters take minutes for more."""


def write(scope: Scope, unit: Unit) -> None:
    """Writes `unit`, and says in `scope` what its results are.

    Raises:
        OpenLoopError: It is a loop, or works on a list, of which something isn't static.
    """
    if isinstance(unit, Loop):
        _write_loop(scope, unit)
    elif (apply := list_op(scope, unit)) is None:
        scope.copy(unit)
    else:
        for tensor, value in zip(unit.outputs, apply(scope, unit), strict=True):
            scope.values[tensor.name] = _still_there(scope, unit, tensor, value)


def _still_there(scope: Scope, op: tf.Operation, tensor: tf.Tensor, value: Value) -> Value:
    """`value`; a list that a loop which stays a loop can take as well has a name."""
    if scope.prefix is not None or not isinstance(value, (Rows, TensorList)):
        return value
    lists = [scope.values.get(taken.name) for taken in op.inputs]
    if any(isinstance(taken, (Rows, TensorList)) and taken.tensor is None for taken in lists):
        return value
    return attrs.evolve(value, tensor=tensor.name)


def _write_loop(scope: Scope, loop: Loop) -> None:
    body, places = loop.body, range(len(loop.starts))
    invariant = {index for index in places if loop.invariant(index)}
    known, data = known_values(scope, loop, invariant)
    values = [(scope.number if i in known else scope.value)(loop.starts[i]) for i in places]
    changing = body.changing(body.arguments[index] for index in places if index not in invariant)
    units = units_of(body)
    once = [unit for unit in units if not _ops(unit) & changing]
    each = [unit for unit in units if _ops(unit) & changing & data]
    # What is the same in all steps, such as a weight, is there once.
    shared = Scope(
        scope.editor,
        body,
        f"{loop.name}/",
        {body.arguments[index].name: values[index] for index in invariant},
        scope.numbers,
        _chosen(known, values),
        data,
    )
    for unit in once:
        write(shared, unit)
    step = 0
    condition = loop.condition
    while scope.numbers.evaluate(condition, condition.results[0], _chosen(known, values)):
        if (step + 1) * max(len(each), 1) > _MOST_OPS:
            raise OpenLoopError(f"its steps are more than {_MOST_OPS} ops")
        current = attrs.evolve(
            shared,
            prefix=f"{loop.name}/step_{step}/",
            values=ChainMap(
                {body.arguments[i].name: values[i] for i in places if i not in invariant},
                shared.values,
            ),
            known=_chosen(known, values),
        )
        for unit in each:
            write(current, unit)
        values = [
            values[i] if i in invariant else current.result(i, known=i in known) for i in places
        ]
        step += 1
    for value, leave in zip(values, loop.exits, strict=True):
        if leave is not None:
            scope.values[leave.name] = value


def _ops(unit: Unit) -> set[tf.Operation]:
    return {tensor.op for tensor in outputs_of(unit)}


def _chosen(places: Collection[int], values: Sequence[Value]) -> dict[int, Any]:
    return {index: values[index] for index in places}
