"""Layers in a v1 cond or while loop: what stands inside, and what can be computed outside.

``Operation._get_control_flow_context`` has no public counterpart; it behaves the same in
TensorFlow 2.16 to 2.21.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# Ops that carry a value into a context as it is.
_CARRYING_TYPES = frozenset({"Identity", "Switch", "RefSwitch", "Enter", "RefEnter"})


def control_flow_context(op: tf.Operation) -> Any | None:
    """The v1 while loop or cond that `op` stands in, or ``None``."""
    return op._get_control_flow_context()


def outside_control_flow(tensor: tf.Tensor) -> tf.Tensor | None:
    """What `tensor` is outside of all control flow: itself, or where it was carried in from.

    A variable's resource is returned when it is read inside. ``None`` when an op inside computes
    `tensor`, so that nothing outside has its value.
    """
    while control_flow_context(tensor.op) is not None:
        if tensor.op.type not in _CARRYING_TYPES | {"ReadVariableOp"}:
            return None
        tensor = tensor.op.inputs[0]
    return tensor


def carried_from(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor that Switch and Enter ops carried here; `tensor` itself when none did.

    For imported graphs, whose ops have no context any more.
    """
    source = tensor
    while tensor.op.type in _CARRYING_TYPES and tensor.op.inputs:
        carries = tensor.op.type != "Identity"
        tensor = tensor.op.inputs[0]
        if carries:
            source = tensor
    return source
