"""Variables behind weights: finding them, setting them, and keeping their zeros."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import GraphStateError
from graphquant_core.graph import GraphView, WeightSource, find_weight_source

v1 = tf.compat.v1

_RESHAPING = frozenset({"Identity", "ReadVariableOp", "Reshape", "ExpandDims", "Squeeze"})
_ASSIGNING = frozenset({"Assign", "AssignVariableOp"})


def plain_variable(view: GraphView, weight: tf.Tensor) -> tf.Operation | None:
    """The variable whose values, in another shape at most, are `weight`; ``None`` if none is."""
    source = find_weight_source(view, weight)
    if not isinstance(source, WeightSource) or source.kind != "variable":
        return None
    if not _RESHAPING.issuperset(source.path):
        return None
    return view.graph.get_operation_by_name(source.name)


def set_variables(
    view: GraphView, session: tf.compat.v1.Session, values: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Gives variables new values, by the names of their ops, in one run and without a new op.

    It feeds the op that initialises the variable, as `tf.Variable.load` does.

    Raises:
        GraphStateError: A variable has no op that assigns to it.
    """
    ops, feeds = [], {}
    for name, value in values.items():
        variable = view.graph.get_operation_by_name(name)
        takers = view.consumers(variable.outputs[0])
        assigning = [op for op, port in takers if op.type in _ASSIGNING and port == 0]
        if not assigning:
            raise GraphStateError(f'variable "{name}" has no op that initialises it')
        ops.append(assigning[0])
        feeds[assigning[0].inputs[1]] = value.reshape(_shape(variable))
    if ops:
        session.run(ops, feeds)


def unstarted(
    view: GraphView, session: tf.compat.v1.Session, names: Iterable[str]
) -> frozenset[str]:
    """Those of the resource variables `names` that are not initialised, or all zeros."""
    handles = {name: view.graph.get_operation_by_name(name).outputs[0] for name in names}
    checks = {}
    for name, handle in handles.items():
        takers = view.consumers(handle)
        checks[name] = next(op for op, _ in takers if op.type == "VarIsInitializedOp").outputs[0]
    initialized = session.run(checks)
    reads = {
        name: next(op for op, _ in view.consumers(handle) if op.type == "ReadVariableOp").outputs[0]
        for name, handle in handles.items()
        if initialized[name]
    }
    values = session.run(reads)
    return frozenset(name for name in handles if name not in values or not values[name].any())


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
