"""Which variable is the moving average of which tensor."""

from __future__ import annotations

import attrs
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.view import VARIABLE_TYPES

_BLENDING = frozenset({"Add", "AddV2", "Cast", "Mul", "Neg", "RealDiv", "Sub"})
_READING = frozenset({"Identity", "ReadVariableOp"})
_ASSIGNING = frozenset(
    {
        "Assign", "AssignAdd", "AssignSub",
        "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp",
    }
)  # fmt: skip


@attrs.frozen(eq=False)
class MovingAverage:
    """A variable that an op blends with `batch`: v - (v - batch) * (1 - decay), or the like.

    Attributes:
        variable: The variable's op.
        batch: What it averages, such as a batch's variance; the shape of the variable.
    """

    variable: tf.Operation
    batch: tf.Tensor


def find_moving_averages(view: GraphView) -> list[MovingAverage]:
    """Every variable of `view`'s graph that some op blends with one tensor that depends on data."""
    found = []
    for op in view.of_types(_ASSIGNING):
        if op.inputs[0].op.type in VARIABLE_TYPES:
            variable = op.inputs[0].op
            leaves = _leaves(op.inputs[1])
            batch = {leaf.name: leaf for leaf in leaves if view.depends_on_data(leaf)}
            if len(batch) == 1 and any(leaf.op is variable for leaf in leaves):
                found.append(MovingAverage(variable, *batch.values()))
    return found


def _leaves(value: tf.Tensor) -> list[tf.Tensor]:
    """What `value` is blended from: variables, constants and other tensors."""
    leaves, waiting = [], [value]
    while waiting:
        tensor = waiting.pop()
        if tensor.op.type in _BLENDING | _READING:
            waiting.extend(tensor.op.inputs)
        else:
            leaves.append(tensor)
    return leaves
