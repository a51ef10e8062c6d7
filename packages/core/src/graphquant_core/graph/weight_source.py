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

RESHAPING_TYPES = frozenset({"Identity", "ReadVariableOp", "Reshape", "ExpandDims", "Squeeze"})
"""Those of them that keep every number, in its order."""


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
    path: list[str] = []
    port = tensor
    op = tensor.op
    while op.type in PASSING_TYPES and op.inputs:
        path.append(op.type)
        tensor = op.inputs[tensor.value_index] if op.type == "IdentityN" else op.inputs[0]
        op = tensor.op
    # A Switch on fed data still passes a variable: what ends the path decides, not the port.
    if op.type in VARIABLE_TYPES:
        return WeightSource("variable", op.name, tuple(path))
    if op.type == "Const":
        return WeightSource("constant", op.name, tuple(path))
    if op.type.startswith("Placeholder"):
        return f'its weight is fed by the placeholder "{op.name}": use a variable or a constant'
    if view.depends_on_data(tensor):
        return (
            f'it has no weight: its input "{port.name}" ({port.op.type}) depends on the inputs of '
            "the graph as well"
        )
    if op.type in ("ConcatV2", "Concat") and _joins_variables(view, op):
        return WeightSource("partitioned", op.name, tuple(path))
    return WeightSource("computed", tensor.name, tuple(path))


def plain_variable(view: GraphView, weight: tf.Tensor) -> tf.Operation | None:
    """The variable whose values, in another shape at most, are `weight`; ``None`` if none is."""
    source = find_weight_source(view, weight)
    if not isinstance(source, WeightSource) or source.kind != "variable":
        return None
    if not RESHAPING_TYPES.issuperset(source.path):
        return None
    return view.graph.get_operation_by_name(source.name)


def _joins_variables(view: GraphView, op: tf.Operation) -> bool:
    parts = [part for part in op.inputs if part.dtype.is_floating]
    sources = [find_weight_source(view, part) for part in parts]
    return all(isinstance(source, WeightSource) and source.kind == "variable" for source in sources)
