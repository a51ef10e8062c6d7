"""A quantiser's ops, built once in a graph of their own, so that they can be stamped into others.

Creating an op from Python costs TensorFlow about five times what importing it costs. Layers whose
quantisers differ in names only share a template; `graphquant_core.graph.stamping` imports the
copies of all of them in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import tensorflow as tf

from graphquant_core.exceptions import PluginError
from graphquant_core.graph.call_shapes import CallShapes, inferred_shapes, known_shapes
from graphquant_core.graph.node_pattern import NamePattern, NodePattern, node_patterns
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest

v1 = tf.compat.v1

VALUES = "graphquant_values"
KEY = "graphquant_key"
SCOPE = "graphquant_scope"


_DESCRIBED = ("variable_name", "initializer_name", "snapshot_name", "initial_value_name")


@attrs.frozen(eq=False)
class TemplateVariable:
    """A variable of a template.

    Attributes:
        description: Its VariableDef.
        names: The names in the description, by field.
        kind: Its class.
        collections: The collections it is in.
    """

    description: Any
    names: Mapping[str, NamePattern]
    kind: Any
    collections: tuple[str, ...]

    @classmethod
    def of(cls, variable: tf.Variable, graph: tf.Graph) -> TemplateVariable:
        """`variable` of the template that is built in `graph`."""
        description = variable.to_proto()
        names = {field: NamePattern.of(getattr(description, field)) for field in _DESCRIBED}
        return cls(description, names, type(variable), _collections(graph, variable))


@attrs.frozen(eq=False)
class Template:
    """Ops below the scope `SCOPE`, variables below `KEY`, and one input, `VALUES`.

    Attributes:
        graph_def: Nodes and functions.
        patterns: The nodes, without the input's placeholder.
        variables: The variables.
        outputs: The tensors output, scale, offset and calibrated (or ``None``).
        call_shapes: Shapes of what its calls of functions return.
    """

    graph_def: tf.compat.v1.GraphDef
    patterns: tuple[NodePattern, ...]
    variables: tuple[TemplateVariable, ...]
    outputs: tuple[NamePattern, NamePattern, NamePattern, NamePattern | None]
    call_shapes: CallShapes

    def call_shapes_for(self, shape: tf.TensorShape) -> CallShapes:
        """The shapes of what its calls return in a copy whose input has `shape`."""
        found = self.call_shapes
        if all(known.is_fully_defined() for shapes in found.values() for known in shapes):
            return found
        return inferred_shapes(self.graph_def, VALUES, shape)


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
        variables = [TemplateVariable.of(variable, graph) for variable in v1.global_variables()]
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
    calibrated = None if built.calibrated is None else NamePattern.of(built.calibrated.name)
    output, scale, offset = (
        NamePattern.of(tensor.name) for tensor in (built.output, built.scale, built.offset)
    )
    outputs = (output, scale, offset, calibrated)
    owners = [variable.description.variable_name.partition(":")[0] for variable in variables]
    nodes = [node for node in kept if node.name != VALUES]
    patterns = node_patterns(nodes, owners, outputs)
    shapes = known_shapes(graph.get_operations())
    return Template(graph_def, patterns, tuple(variables), outputs, shapes)


def _collections(graph: tf.Graph, variable: tf.Variable) -> tuple[str, ...]:
    return tuple(
        name
        for name in graph.get_all_collection_keys()
        if any(variable is member for member in graph.get_collection_ref(name))
    )
