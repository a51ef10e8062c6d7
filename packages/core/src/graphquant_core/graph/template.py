"""A quantiser's ops, built once in a graph of their own, so that they can be stamped into others.

Creating an op from Python costs TensorFlow about five times what importing it costs. Layers whose
quantisers differ in names only share a template; `graphquant_core.graph.stamping` imports the
copies of all of them in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import tensorflow as tf

from graphquant_core.exceptions import PluginError
from graphquant_core.graph.node_pattern import NodePattern, node_patterns
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest

v1 = tf.compat.v1

VALUES = "graphquant_values"
KEY = "graphquant_key"
SCOPE = "graphquant_scope"


@attrs.frozen(eq=False)
class TemplateVariable:
    """A variable of a template: how it is described, its class, and the collections it is in."""

    description: Any
    kind: Any
    collections: tuple[str, ...]


@attrs.frozen(eq=False)
class Template:
    """Ops below the scope `SCOPE`, variables below `KEY`, and one input, `VALUES`.

    Attributes:
        graph_def: Nodes and functions.
        patterns: The nodes, without the input's placeholder.
        variables: The variables.
        outputs: Names of the tensors output, scale, offset and calibrated (or ``None``).
    """

    graph_def: tf.compat.v1.GraphDef
    patterns: tuple[NodePattern, ...]
    variables: tuple[TemplateVariable, ...]
    outputs: tuple[str, str, str, str | None]


def trace(
    build: Callable[[tf.Tensor, QuantizerRequest], FakeQuantized],
    request: QuantizerRequest,
    shape: Sequence[int | None] | None,
) -> Template:
    """The template of what `build` makes of a float32 tensor of `shape` for `request`.

    The request's key is replaced by `KEY`.

    Raises:
        PluginError: `build` made ops outside of its scope and its key, which have no place to go.
    """
    graph = tf.Graph()
    with graph.as_default():
        values = v1.placeholder(tf.float32, shape, name=VALUES)
        with v1.name_scope(SCOPE):
            built = build(values, attrs.evolve(request, key=KEY))
        variables = [
            TemplateVariable(variable.to_proto(), type(variable), _collections(graph, variable))
            for variable in v1.global_variables()
        ]
    graph_def = graph.as_graph_def()
    # Nothing takes these: a variable that is asked makes one of its own.
    kept = [node for node in graph_def.node if node.op != "VarIsInitializedOp"]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    stray = [
        node.name
        for node in graph_def.node
        if not node.name.startswith((f"{SCOPE}/", f"{KEY}/")) and node.name != VALUES
    ]
    if stray:
        raise PluginError(
            f'a quantiser made the op "{stray[0]}" outside of the scope that it was called in and '
            "of its request's key"
        )
    calibrated = None if built.calibrated is None else built.calibrated.name
    outputs = (built.output.name, built.scale.name, built.offset.name, calibrated)
    owners = [variable.description.variable_name.partition(":")[0] for variable in variables]
    nodes = [node for node in kept if node.name != VALUES]
    return Template(graph_def, node_patterns(nodes, owners, outputs), tuple(variables), outputs)


def _collections(graph: tf.Graph, variable: tf.Variable) -> tuple[str, ...]:
    return tuple(
        name
        for name in graph.get_all_collection_keys()
        if any(variable is member for member in graph.get_collection_ref(name))
    )
