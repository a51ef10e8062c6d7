"""Variables behind weights: finding them, setting them, and keeping their zeros."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import GraphStateError

v1 = tf.compat.v1

_ASSIGNING = frozenset({"Assign", "AssignVariableOp"})


def set_variables(
    graph: tf.Graph, session: tf.compat.v1.Session, values: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Gives variables new values, by the names of their ops, in one run and without a new op.

    It feeds the op that initialises the variable, as `tf.Variable.load` does.

    Raises:
        GraphStateError: A variable has no op that assigns to it.
    """
    ops, feeds = [], {}
    for name, value in values.items():
        variable = graph.get_operation_by_name(name)
        assigning = _taker(variable, _ASSIGNING)
        if assigning is None:
            raise GraphStateError(f'variable "{name}" has no op that initialises it')
        ops.append(assigning)
        feeds[assigning.inputs[1]] = value.reshape(_shape(variable))
    if ops:
        session.run(ops, feeds)


def read_started(
    graph: tf.Graph, session: tf.compat.v1.Session, tensors: Iterable[str], names: Iterable[str]
) -> tuple[dict[str, npt.NDArray[Any]], frozenset[str]]:
    """Values of `tensors`, and those of the resource variables `names` that were started.

    A variable that is not initialised, or all zeros, was not. It takes one run, and two more when
    a variable isn't initialised: a run in a large graph is slow when it is the first of its kind.

    Raises:
        FailedPreconditionError: One of `tensors` needs a variable that is not initialised.
    """
    wanted = {name: graph.get_tensor_by_name(name) for name in tensors}
    variables = {name: graph.get_operation_by_name(name) for name in names}
    try:
        values, held = session.run((wanted, _reads(variables)))
    except tf.errors.FailedPreconditionError:
        checks = {name: _output(op, "VarIsInitializedOp") for name, op in variables.items()}
        values, initialized = session.run((wanted, checks))
        known = {name: op for name, op in variables.items() if initialized[name]}
        held = session.run(_reads(known))
    return values, frozenset(name for name, value in held.items() if value.any())


def _reads(variables: Mapping[str, tf.Operation]) -> dict[str, tf.Tensor]:
    return {name: _output(op, "ReadVariableOp") for name, op in variables.items()}


def _output(variable: tf.Operation, op_type: str) -> tf.Tensor:
    found = _taker(variable, frozenset({op_type}))
    assert found is not None
    return found.outputs[0]


def _taker(variable: tf.Operation, op_types: frozenset[str]) -> tf.Operation | None:
    """The first op of one of `op_types` that takes `variable`."""
    takers = variable.outputs[0].consumers()
    return next((op for op in takers if op.type in op_types and op.inputs[0].op is variable), None)


def masked_update(
    graph: tf.Graph, masks: Iterable[tuple[tf.Operation, npt.NDArray[np.bool_]]]
) -> tf.Operation:
    """One op that sets each variable to zero where its mask is true."""
    with graph.as_default(), tf.control_dependencies(None), v1.name_scope("keep_zeros"):
        updates = []
        for op, mask in masks:
            with v1.device(op.device or None):
                value = _read(op)
                kept = tf.where(mask.reshape(_shape(op)), tf.zeros_like(value), value)
                updates.append(_write(op, kept))
        return tf.group(*updates)


def _shape(op: tf.Operation) -> list[int]:
    return [dimension.size for dimension in op.get_attr("shape").dim]


def _read(op: tf.Operation) -> tf.Tensor:
    if op.type == "VarHandleOp":
        return tf.raw_ops.ReadVariableOp(resource=op.outputs[0], dtype=op.get_attr("dtype"))
    return tf.identity(op.outputs[0])


def _write(op: tf.Operation, value: tf.Tensor) -> tf.Operation:
    if op.type == "VarHandleOp":
        assigned: tf.Operation = tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=value)
        return assigned
    written: tf.Tensor = v1.assign(op.outputs[0], value)
    return written.op
