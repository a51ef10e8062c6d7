"""From a weight port back to the variable or constant that holds the weight."""

from __future__ import annotations

import attrs
import tensorflow as tf

from graphquant_core.graph.view import VARIABLE_TYPES, GraphView

# Ops that hand the weight on: the value, a cast or another shape of it.
PASSING_TYPES = frozenset(
    {
        "Identity", "ReadVariableOp", "Cast", "Reshape", "ExpandDims", "Squeeze", "StopGradient",
        "Enter", "RefEnter", "Switch", "RefSwitch", "Snapshot", "IdentityN",
    }
)  # fmt: skip


@attrs.frozen(eq=False)
class WeightSource:
    """What holds a weight.

    Attributes:
        kind: ``"variable"``, ``"constant"``, ``"partitioned"`` (several variables that ConcatV2
            joins) or ``"computed"`` (from variables and constants by other ops).
        name: Name of the variable or constant op; of the joining or computing op otherwise.
            Layers that share a weight have the same name here.
        path: Types of the ops from the port back to the source, the nearest first.
    """

    kind: str
    name: str
    path: tuple[str, ...] = ()


def find_weight_source(view: GraphView, tensor: tf.Tensor) -> WeightSource | str:
    """The source of the weight `tensor`, or a sentence that says why it has none."""
    if view.depends_on_data(tensor):
        feeder = _nearest_placeholder(tensor)
        if feeder is not None:
            return f'its weight is fed by the placeholder "{feeder}": use a variable or a constant'
        return (
            f'it has no weight: both of its inputs depend on data (input "{tensor.name}" is '
            f"computed by {tensor.op.type})"
        )
    path: list[str] = []
    op = tensor.op
    while op.type in PASSING_TYPES and op.inputs:
        path.append(op.type)
        source = op.inputs[tensor.value_index] if op.type == "IdentityN" else op.inputs[0]
        op, tensor = source.op, source
    if op.type in VARIABLE_TYPES:
        return WeightSource("variable", op.name, tuple(path))
    if op.type == "Const":
        return WeightSource("constant", op.name, tuple(path))
    if op.type in ("ConcatV2", "Concat") and _joins_variables(view, op):
        return WeightSource("partitioned", op.name, tuple(path))
    return WeightSource("computed", tensor.name, tuple(path))


def _nearest_placeholder(tensor: tf.Tensor) -> str | None:
    op = tensor.op
    while op.type in PASSING_TYPES and op.inputs:
        op = op.inputs[0].op
    return op.name if op.type in ("Placeholder", "PlaceholderWithDefault") else None


def _joins_variables(view: GraphView, op: tf.Operation) -> bool:
    parts = [part for part in op.inputs if part.dtype.is_floating]
    sources = [find_weight_source(view, part) for part in parts]
    return all(isinstance(source, WeightSource) and source.kind == "variable" for source in sources)
