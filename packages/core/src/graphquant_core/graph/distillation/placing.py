"""A float model placed in the graph of another: constants below a scope of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, UnknownNameError
from graphquant_core.graph.rewire import TEACHER, mark
from graphquant_core.listing import brief_repr, listed
from graphquant_core.suggestions import closest

v1 = tf.compat.v1


def place_teacher(
    graph: tf.Graph,
    frozen: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    inputs: Mapping[str, Any],
) -> list[str]:
    """Imports `frozen` into `graph`, where quantisers leave it alone; names of its outputs there.

    Args:
        graph: The graph.
        frozen: What `teacher_graph_def` returned.
        outputs: Names of its output ops.
        inputs: Tensors, names or values by the names of its inputs, or of other ops whose first
            result they replace; the other inputs are called alike.

    Raises:
        ConfigError: An input is missing, or what is given for it doesn't fit.
        UnknownNameError: `inputs` names no op of it.
    """
    named = {name.partition(":")[0]: value for name, value in inputs.items()}
    given = {name: _tensor(graph, name, value, frozen) for name, value in named.items()}
    frozen = _taking(frozen, given, outputs)
    tensors = {}
    for node in frozen.node:
        if node.name in given:
            tensors[f"{node.name}:0"] = _fitting(node, given[node.name])
        elif node.op == "Placeholder":  # one with a default says itself what inference feeds
            tensors[f"{node.name}:0"] = _fitting(node, _called_alike(graph, node))
        elif node.op == "IteratorGetNext":
            raise ConfigError(
                f'the teacher reads its own data ("{node.name}"): say which tensor of the graph it '
                f'takes instead, as in inputs={{"{node.name}": images}}'
            )
    scope = graph.unique_name("teacher", mark_as_used=False)
    try:
        tf.import_graph_def(frozen, tensors, name="teacher")
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ConfigError(f"teacher cannot be placed in the graph: {str(error)[:1000]}") from error
    for node in frozen.node:
        mark(graph.get_operation_by_name(f"{scope}/{node.name}"), TEACHER)
    return [f"{scope}/{name}" for name in outputs]


def _called_alike(graph: tf.Graph, node: tf.compat.v1.NodeDef) -> tf.Tensor:
    flag = node.attr["dtype"].type == tf.bool.as_datatype_enum
    if flag:
        raise ConfigError(
            f'the teacher\'s input "{node.name}" is a flag: say what it is for inference, as in '
            f'inputs={{"{node.name}": False}}'
        )
    try:
        return graph.get_tensor_by_name(f"{node.name}:0")
    except KeyError:
        own = [op.name for op in graph.get_operations() if op.type.startswith("Placeholder")]
        raise ConfigError(
            f'inputs: nothing in the graph is called like the teacher\'s input "{node.name}": give '
            f"its tensor or value; the graph's own inputs are {listed(own, nothing='none')}"
        ) from None


def _tensor(graph: tf.Graph, name: str, given: Any, frozen: tf.compat.v1.GraphDef) -> tf.Tensor:
    """`given` as a tensor of `graph`, for the op of `frozen` called `name`."""
    nodes = {node.name: node for node in frozen.node}
    if name not in nodes:
        known = [node.name for node in frozen.node if node.op.startswith("Placeholder")]
        raise UnknownNameError(f'inputs: the teacher has no input "{name}"{closest(name, known)}')
    dtype = nodes[name].attr["dtype"].type or None
    try:
        if isinstance(given, str):
            return graph.get_tensor_by_name(given if ":" in given else f"{given}:0")
        tensor = tf.convert_to_tensor(given) if tf.is_tensor(given) else tf.constant(given, dtype)
    except (KeyError, ValueError, TypeError) as error:
        reason = error.args[0] if error.args else error
        raise ConfigError(f'inputs["{name}"] ({brief_repr(given)}): {reason}') from error
    if tensor.graph is not graph:
        raise ConfigError(f'inputs["{name}"] ({brief_repr(given)}) is a tensor of another graph')
    return tensor


def _taking(
    frozen: tf.compat.v1.GraphDef, given: Mapping[str, tf.Tensor], outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`frozen` with a placeholder for each op that something is given for."""
    result = v1.GraphDef()
    result.CopyFrom(frozen)
    for node in result.node:
        if node.name in outputs and (node.name in given or node.op.startswith("Placeholder")):
            raise ConfigError(f'outputs: the teacher\'s "{node.name}" is one of its inputs')
        if node.name in given and not node.op.startswith("Placeholder"):
            tensor = given[node.name]
            stand_in = v1.NodeDef(name=node.name, op="Placeholder")
            stand_in.attr["dtype"].type = tensor.dtype.base_dtype.as_datatype_enum
            stand_in.attr["shape"].shape.CopyFrom(tensor.shape.as_proto())
            node.CopyFrom(stand_in)
    return v1.graph_util.extract_sub_graph(result, list(outputs))


def _fitting(node: tf.compat.v1.NodeDef, tensor: tf.Tensor) -> tf.Tensor:
    """`tensor`, which the input `node` can take."""
    dtype = tf.as_dtype(node.attr["dtype"].type)
    wanted = tf.TensorShape(node.attr["shape"].shape)
    known = wanted.rank is not None and tensor.shape.rank is not None
    # A batch of another size is the user's to try; TensorFlow says where a size is written down.
    fits = not known or wanted[1:].is_compatible_with(tensor.shape[1:])
    if known and wanted.rank != tensor.shape.rank:
        fits = False
    if tensor.dtype.base_dtype != dtype or not fits:
        raise ConfigError(
            f'the teacher\'s input "{node.name}" is {dtype.name} {wanted}, but "{tensor.name}" is '
            f"{tensor.dtype.name} {tensor.shape}"
        )
    return tensor
