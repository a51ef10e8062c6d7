"""The outputs of a graph that doesn't name them: what depends on data and nothing takes."""

from __future__ import annotations

import re

import tensorflow as tf

from graphquant_core.exceptions import OutputNotFoundError
from graphquant_core.graph import GraphView
from graphquant_core.graph.guards import gradient_ops
from graphquant_core.listing import listed_names

_FED = ("Placeholder", "Iterator")
_START = re.compile(r"(^|/)grad_ys_\d+$")
_NO_OUTPUTS = frozenset({"Assert", "Placeholder", "PlaceholderWithDefault", "Print", "PrintV2"})


def unused_ops(graph: tf.Graph, argument: str) -> tuple[str, ...]:
    """Names of the ops of the frozen `graph` that depend on what is fed and that nothing takes.

    Raises:
        OutputNotFoundError: There is none; names `argument`.
    """
    view = GraphView(graph)
    waited_for = _waited_for(view)
    names = tuple(
        op.name for op in view.operations if _ends(view, op, set()) and op not in waited_for
    )
    if not names:
        raise OutputNotFoundError(
            f"{argument}: no op computes from its placeholders what nothing takes; say which ops "
            "are the outputs"
        )
    return names


def prediction(graph: tf.Graph, argument: str) -> tuple[str, ...]:
    """Name of the op of a training graph that nothing but the training takes.

    A loss is none, nor is what isn't float or isn't computed from a placeholder or an iterator.

    Raises:
        OutputNotFoundError: There isn't exactly one; names those there are.
    """
    view = GraphView(graph)
    training = _training_ops(view)
    fed = view.downstream(op for op in view.operations if op.type.startswith(_FED))
    names = tuple(
        op.name
        for op in view.operations
        if op in fed - training and _ends(view, op, training) and _is_prediction(op)
    )
    if len(names) != 1:
        found = listed_names(names)
        raise OutputNotFoundError(
            f"{argument}: the graph has no signature, so say which ops are the outputs; ops that "
            f"nothing takes: {found}"
        )
    return names


def _training_ops(view: GraphView) -> set[tf.Operation]:
    """What tf.gradients created, and what is computed from it."""
    gradients = gradient_ops(view)
    scopes = {op.name.rpartition("/")[0] for op in gradients if _START.search(op.name)} - {""}
    inside = (op for op in view.operations if op.name.startswith(tuple(f"{s}/" for s in scopes)))
    return gradients | set(inside)


def _ends(view: GraphView, op: tf.Operation, ignored: set[tf.Operation]) -> bool:
    """Whether `op` depends on data and only ops of `ignored` take what it computes."""
    if not op.outputs or op.type in _NO_OUTPUTS or not view.depends_on_data(op.outputs[0]):
        return False
    if _is_pivot(op):
        return False
    takers = (taker for tensor in op.outputs for taker, _ in view.consumers(tensor))
    return all(taker in ignored for taker in takers)


def _waited_for(view: GraphView) -> set[tf.Operation]:
    """The ops that one with a result waits for, such as what training kept of a moving average."""
    found: set[tf.Operation] = set()
    waiting = [op for op in view.operations if op.type != "NoOp"]
    while waiting:
        before = [op for op in waiting.pop().control_inputs if op not in found]
        found.update(before)
        waiting += [op for op in before if op.type == "NoOp"]
    return found


def _is_pivot(op: tf.Operation) -> bool:
    """Whether the constants in a branch of a condition wait for `op`: it passes the outcome on."""
    switch = op if op.type == "Switch" else op.inputs[0].op if op.type == "Identity" else None
    return switch is not None and switch.type == "Switch" and switch.inputs[0] is switch.inputs[1]


def _is_prediction(op: tf.Operation) -> bool:
    output = op.outputs[0]
    # An assignment to a variable of TensorFlow 1 returns a reference to it.
    assigns = output.dtype != output.dtype.base_dtype
    return bool(output.dtype.is_floating) and output.shape.rank != 0 and not assigns
