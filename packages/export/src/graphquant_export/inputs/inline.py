"""Calls of functions that hide layers, replaced by the ops in the functions.

A Keras model and a `tf.function` keep their layers in functions, where no rewrite has an effect.
The bodies of While and If stay where they are.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.functions import functions_called_by
from graphquant_core.registry import load_registry
from graphquant_export.inputs.freeze_function import freeze_function
from graphquant_export.inputs.name_outputs import name_outputs, output_name

v1 = tf.compat.v1

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})

# What keeps TensorFlow from inlining a function.
_KEEPING = ("_noinline", "_XlaMustCompile", "_XlaCompile", "_XlaScope")


def hides_layers(graph_def: tf.compat.v1.GraphDef) -> bool:
    """Whether a function that `graph_def` calls, be it through others, holds a layer."""
    layer_types = load_registry().handlers
    bodies = {body.signature.name: body.node_def for body in graph_def.library.function}
    waiting = _called(graph_def.node)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in bodies:
            continue
        seen.add(name)
        if any(node.op in layer_types for node in bodies[name]):
            return True
        waiting += _called(bodies[name])
    return False


def inline_layers(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tuple[tf.compat.v1.GraphDef, tuple[str, ...]]:
    """`graph_def` with every function inlined, if calls hide layers; else as it is.

    A graph whose functions hold no layers, such as one that was fake-quantised for training, isn't
    touched.

    Args:
        graph_def: Frozen graph.
        outputs: Names of ops in it.

    Returns:
        The graph, and the names of its outputs: each tensor of a call is one.
    """
    if not hides_layers(graph_def):
        return graph_def, tuple(outputs)
    prepared = GraphDefEditor(_inlinable(graph_def)).graph_def(outputs)
    wrapped = v1.wrap_function(lambda: tf.import_graph_def(prepared, name=""), [])
    feeds, fetches = [], []
    for op in wrapped.graph.get_operations():
        if op.type.startswith("Placeholder"):
            feeds += op.outputs
    for name in outputs:
        op = wrapped.graph.get_operation_by_name(name)
        fetches += op.outputs if op.type in CALLS else op.outputs[:1]
    frozen = freeze_function(wrapped.prune(feeds, fetches))
    names = [output_name(tensor.name) for tensor in fetches]
    return name_outputs(frozen.graph_def, frozen.outputs, names, always=True)


def _called(nodes: Iterable[tf.compat.v1.NodeDef]) -> list[str]:
    return [name for node in nodes if node.op in CALLS for name in functions_called_by(node)[1:]]


def _inlinable(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """A copy whose functions TensorFlow inlines, and has never seen under their names.

    A process keeps one definition for each name of a function, whichever graph it is from.
    """
    result = v1.GraphDef()
    result.CopyFrom(graph_def)
    library = graph_def.library.SerializeToString(deterministic=True)
    suffix = hashlib.sha256(library).hexdigest()[:8]
    names = {
        body.signature.name: f"{body.signature.name}_{suffix}" for body in result.library.function
    }
    for body in result.library.function:
        body.signature.name = names[body.signature.name]
        for name in _KEEPING:
            body.attr.pop(name, None)
    for gradient in result.library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)
    nodes = [result.node, *(body.node_def for body in result.library.function)]
    for node in itertools.chain.from_iterable(nodes):
        _rename_calls(node, names)
    return result


def _rename_calls(node: tf.compat.v1.NodeDef, names: Mapping[str, str]) -> None:
    node.op = names.get(node.op, node.op)
    for name in _KEEPING:
        node.attr.pop(name, None)
    for value in node.attr.values():
        functions = [*([value.func] if value.HasField("func") else []), *value.list.func]
        for function in functions:
            function.name = names.get(function.name, function.name)
