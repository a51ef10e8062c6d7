"""Conditions of TensorFlow 2: an If calls one of two functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor, import_frozen, tensor_name
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_core.graph.function_body import FunctionBody, function_body

IF_TYPES = frozenset({"If", "StatelessIf"})


def call_branches(
    graph_def: tf.compat.v1.GraphDef, values: Mapping[str, bool], outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` with the ops of one branch of each If, as ``"<name of the If>/<op>"``.

    Args:
        graph_def: Frozen graph.
        values: Whether the branch is taken that is meant for true conditions, by the If's name.
        outputs: Names of the ops that are the model's outputs.
    """
    if not values:
        return graph_def
    graph = import_frozen(graph_def)
    library = {each.signature.name: each for each in graph_def.library.function}
    editor = GraphDefEditor(graph_def)
    for name, value in values.items():
        op = graph.get_operation_by_name(name)
        branch = op.get_attr("then_branch" if value else "else_branch").name
        _call(editor, name, function_body(graph, library[branch]))
    return editor.graph_def(outputs)


def _call(editor: GraphDefEditor, name: str, body: FunctionBody) -> None:
    """Puts the ops of `body` in the place of the If."""
    _, *taken = editor.node(name).input
    given = [tensor_name(tensor) for tensor in taken if not tensor.startswith("^")]
    waits = [tensor for tensor in taken if tensor.startswith("^")]
    types = editor.node(name).attr["Tout"].list.type
    results = _copy(editor, name, body, given, waits)
    for output, result in enumerate(results[1:], 1):
        for taker, port in editor.consumers(f"{name}:{output}"):
            editor.set_input(taker, port, result)
    if results:
        editor.replace(node_def(name, "Identity", results[:1], T=tf.as_dtype(types[0])))
    else:
        editor.replace(node_def(name, "NoOp", waits))


def _copy(
    editor: GraphDefEditor,
    scope: str,
    body: FunctionBody,
    given: Sequence[str],
    waits: Sequence[str],
) -> list[str]:
    """Adds the nodes of `body` under `scope`, and returns the names of what it returns."""
    passed = dict(zip(map(tensor_name, body.arguments), given, strict=True))
    names = {
        node.name: editor.unique_name(f"{scope}/{node.name}")
        for node in body.graph_def.node
        if node.name not in passed
    }

    def renamed(reference: str) -> str:
        caret, reference = reference[: reference.startswith("^")], reference.removeprefix("^")
        if tensor_name(reference) in passed:
            source = passed[tensor_name(reference)]
            return f"^{source.partition(':')[0]}" if caret else source
        node, colon, output = reference.partition(":")
        return f"{caret}{names[node]}{colon}{output}"

    for node in body.graph_def.node:
        if node.name in passed:
            continue
        copied = tf.compat.v1.NodeDef()
        copied.CopyFrom(node)
        copied.name = names[node.name]
        taken = [tensor_name(renamed(reference)) for reference in node.input]
        copied.input[:] = taken or list(waits)
        copied.attr.pop("_class", None)
        editor.add(copied)
    return [tensor_name(renamed(result)) for result in body.results]
