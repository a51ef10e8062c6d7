"""Assignments that training left in a frozen graph, whose variables are constants."""

from __future__ import annotations

import tensorflow as tf

_OF_REFERENCES = {
    "Assign": "Identity",
    "AssignAdd": "Identity",
    "AssignSub": "Identity",
    "RefIdentity": "Identity",
    "RefMerge": "Merge",
    "RefSwitch": "Switch",
}
_OF_RESOURCES = frozenset({"AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp"})
_UPDATES = _OF_RESOURCES | set(_OF_REFERENCES)


def without_updates(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """`graph_def` whose constants keep their values: what assigns to one passes it on.

    Moving averages in a branch for training are such assignments. TensorFlow refuses to import them
    when the graph is frozen ("was passed float from ... incompatible with expected float_ref").

    Args:
        graph_def: Frozen graph. It stays as it is.

    Returns:
        `graph_def` itself where it holds no such op.
    """
    bodies = (body.node_def for body in graph_def.library.function)
    if not any(node.op in _UPDATES for nodes in (graph_def.node, *bodies) for node in nodes):
        return graph_def
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(graph_def)
    for nodes in (result.node, *(body.node_def for body in result.library.function)):
        for node in nodes:
            if node.op in _OF_RESOURCES:
                _wait(node)
            elif node.op in _OF_REFERENCES:
                _pass_on(node)
    return result


def _wait(node: tf.compat.v1.NodeDef) -> None:
    """Makes a NoOp of an op without outputs, which others may wait for."""
    node.op = "NoOp"
    waits = [_operation(name) for name in node.input]
    node.input[:] = list(dict.fromkeys(f"^{name}" for name in waits))
    node.attr.clear()


def _pass_on(node: tf.compat.v1.NodeDef) -> None:
    """Lets `node` return its first input as it is."""
    assigns = _OF_REFERENCES[node.op] == "Identity"
    node.op = _OF_REFERENCES[node.op]
    for name in ("use_locking", "validate_shape"):
        node.attr.pop(name, None)
    if assigns:
        first, *others = node.input
        waits = (f"^{_operation(name)}" for name in others)
        node.input[:] = [first, *dict.fromkeys(waits)]


def _operation(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]
