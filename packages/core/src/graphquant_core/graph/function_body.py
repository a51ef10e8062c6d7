"""The body of a function as the nodes of a graph."""

from __future__ import annotations

from typing import Any

import attrs
import tensorflow as tf

# It has no public counterpart, and is the same in TensorFlow 2.16 to 2.21.
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def


@attrs.frozen(eq=False)
class FunctionBody:
    """A function of a graph.

    Attributes:
        graph_def: Its nodes, with a placeholder for each argument.
        arguments: Names of the placeholders' tensors, such as ``"x:0"``.
        results: Names of the tensors that it returns.
    """

    graph_def: tf.compat.v1.GraphDef
    arguments: tuple[str, ...]
    results: tuple[str, ...]


def function_body(graph: tf.Graph, definition: Any) -> FunctionBody:
    """The body of `definition`, a FunctionDef in the library of `graph`."""
    # It looks up in the default graph what ops are called.
    with graph.as_default():
        graph_def, names = function_def_to_graph_def(definition)
    arguments = [f"{argument.name}:0" for argument in definition.signature.input_arg]
    returned = [definition.ret[result.name] for result in definition.signature.output_arg]
    return FunctionBody(graph_def, tuple(arguments), tuple(names[name] for name in returned))
