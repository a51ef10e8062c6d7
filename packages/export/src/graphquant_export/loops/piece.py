"""A part of a graph as a function of its own: the body of a loop, or its condition."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import attrs
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import import_frozen

ENTER_TYPES = frozenset({"Enter", "RefEnter"})


@attrs.frozen(eq=False, slots=False)
class Piece:
    """A graph with arguments and results.

    Attributes:
        graph: The graph, without control edges.
        arguments: What placeholders of it stand for.
        results: What it computes.
        functions: The functions that ops of it may call, by name.
    """

    graph: tf.Graph
    arguments: tuple[tf.Tensor, ...]
    results: tuple[tf.Tensor, ...]
    functions: Mapping[str, Any] = attrs.field(repr=False)

    @cached_property
    def view(self) -> GraphView:
        """A view of the graph."""
        return GraphView(self.graph)

    @cached_property
    def scope(self) -> str:
        """What the names of all its ops but the arguments begin with, a slash at the end."""
        own = {argument.op for argument in self.arguments}
        scopes = [op.name.rpartition("/")[0] for op in self.view.operations if op not in own]
        common = posixpath.commonpath(scopes) if scopes else ""
        return f"{common}/" if common else ""

    def changing(self, arguments: Iterable[tf.Tensor]) -> set[tf.Operation]:
        """The ops that change with `arguments`, or with what is drawn or fed.

        Those of a loop in a frame count as such: without control edges it can't be run.
        """
        own = {argument.op for argument in self.arguments}
        starts = {argument.op for argument in arguments}
        for op in self.view.operations:
            if op.type in ENTER_TYPES or (op not in own and self.view.brings_data(op)):
                starts.add(op)
        return self.view.downstream(starts)


def piece_of(
    graph_def: tf.compat.v1.GraphDef,
    arguments: Iterable[str],
    results: Iterable[str],
    functions: Mapping[str, Any],
) -> Piece:
    """`graph_def` as a piece.

    Args:
        graph_def: The nodes; their control edges are left out.
        arguments: Names of tensors of placeholders in it, such as ``"x:0"``.
        results: Names of tensors in it.
        functions: What its nodes may call.
    """
    nodes = without_control_edges(graph_def)
    nodes.library.ClearField("function")
    nodes.library.function.extend(functions.values())
    graph = import_frozen(nodes)
    taken, given = (
        tuple(graph.get_tensor_by_name(name) for name in names) for names in (arguments, results)
    )
    return Piece(graph, taken, given, functions)


def without_control_edges(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """A copy of `graph_def`, in which what runs is what is taken."""
    result = tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString())
    for node in result.node:
        if any(name.startswith("^") for name in node.input):
            node.input[:] = [name for name in node.input if not name.startswith("^")]
        node.attr.pop("_class", None)
    return result
