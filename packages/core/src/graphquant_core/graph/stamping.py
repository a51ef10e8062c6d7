"""Copies of templates, imported into a graph together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from graphquant_core.graph.call_shapes import as_inferred, with_shapes
from graphquant_core.graph.import_nodes import import_nodes
from graphquant_core.graph.node_pattern import NamePattern, NodePattern, place
from graphquant_core.graph.template import KEY, SCOPE, VALUES, Template

v1 = tf.compat.v1


class StampSheet:
    """Collects copies of templates for `graph`; `apply` imports them all.

    Copies of one template take their constants from the first: an op costs the import as much as
    all that a copy changes.

    Args:
        graph: The graph that the copies go to. It isn't changed before `apply`, except that the
            names of the copies' scopes are taken.
    """

    def __init__(self, graph: tf.Graph) -> None:
        self.graph = graph
        self._graph_def = v1.GraphDef()
        self._functions: set[str] = set()
        self._inputs: dict[str, tf.Tensor] = {}
        self._nodes: set[str] = set()
        self._constants: dict[tuple[NodePattern, str], str] = {}
        self._call_nodes: dict[tuple[Template, str], Mapping[str, Any]] = {}
        self._calls: list[str] = []
        held = graph.get_collection_ref(v1.GraphKeys.GLOBAL_VARIABLES)
        self._listed = {str(variable.name) for variable in held}
        self._variables: list[tuple[Any, Any, tuple[str, ...]]] = []

    def add(
        self,
        template: Template,
        values: tf.Tensor,
        scope: str,
        key: str,
        device: str = "",
        variable_device: str = "",
    ) -> tuple[str, str, str, str | None]:
        """Names that the outputs of a new copy of `template` will have.

        Args:
            template: What to copy.
            values: The copy's input.
            scope: Name scope of its ops; made unique.
            key: Name scope of its variables. One that is in the graph already is shared.
            device: Device of its ops.
            variable_device: Device of its variables.
        """
        unique = self.graph.unique_name(scope)
        fed = f"{unique}/{VALUES}"
        self._inputs[fed] = values
        scopes = {SCOPE: unique, KEY: key, VALUES: fed}
        self._graph_def.versions.CopyFrom(template.graph_def.versions)
        self._add_functions(template.graph_def.library.function)
        moved: dict[str, str] = {}
        shared: dict[NamePattern, bool] = {}
        calls = self._calls_of(template, values.shape)
        for pattern in template.patterns:
            own = pattern.name.scope == KEY
            # Only the variables can be there already: the scope is a new one.
            if own:
                if pattern.variable not in shared:
                    shared[pattern.variable] = self._exists(pattern.variable.node(scopes))
                if shared[pattern.variable]:
                    continue
            name, where = pattern.name.node(scopes), variable_device if own else device
            if pattern.is_constant:
                first = self._constants.setdefault((pattern, where), name)
                if first != name:
                    moved[name] = first
                    continue
            self._nodes.add(name)
            call = calls.get(pattern.node.name)
            copy = self._add_node(call or pattern.node, pattern, name, scopes, moved)
            if call:
                self._calls.append(name)
            # A colocated op, such as a read, goes along with a variable.
            if where and (own or not pattern.places):
                copy.device = where
        self._add_variables(template, scopes, moved)
        output, scale, offset, calibrated = template.outputs
        return (
            output.full(scopes),
            scale.full(scopes),
            offset.full(scopes),
            None if calibrated is None else calibrated.full(scopes),
        )

    def apply(self) -> None:
        """Import every copy, whatever scopes the caller is in, and put variables in collections."""
        import_nodes(self.graph, self._graph_def, self._inputs)
        for call in self._calls:
            as_inferred(self.graph.get_operation_by_name(call))
        with self.graph.as_default():
            for kind, description, collections in self._variables:
                variable = kind.from_proto(description)
                for collection in collections:
                    self.graph.add_to_collection(collection, variable)

    def _add_node(
        self,
        node: Any,
        pattern: NodePattern,
        name: str,
        scopes: dict[str, str],
        moved: dict[str, str],
    ) -> Any:
        """The copy of `node`, which `pattern` describes."""
        copy = self._graph_def.node.add()
        copy.CopyFrom(node)
        copy.name = name
        if pattern.inputs:
            copy.input[:] = [self._input(taken, scopes, moved) for taken in pattern.inputs]
        if pattern.places:
            copy.attr["_class"].list.s[:] = [place(one.node(scopes)) for one in pattern.places]
        for attribute, resource in pattern.resources.items():
            copy.attr[attribute].s = resource.full(scopes).encode()
        return copy

    def _input(self, taken: NamePattern, scopes: dict[str, str], moved: dict[str, str]) -> str:
        """Name of an input, made known to the import when the graph has its op from before."""
        if taken.scope == VALUES:
            return scopes[VALUES]
        name = taken.node(scopes)
        name = moved.get(name, name)
        full = f"{taken.mark}{name}{taken.port}"
        if name not in self._nodes and not taken.mark:
            self._inputs[full] = self.graph.get_operation_by_name(name).outputs[0]
        return full

    def _calls_of(self, template: Template, shape: tf.TensorShape) -> Mapping[str, Any]:
        """The nodes of `template` that call functions, with their shapes for an input of `shape`.

        By name.
        """
        key = (template, str(shape))
        if key not in self._call_nodes:
            shapes = template.call_shapes_for(shape)
            self._call_nodes[key] = {
                pattern.node.name: with_shapes(pattern.node, shapes[pattern.node.name])
                for pattern in template.patterns
                if pattern.node.name in shapes
            }
        return self._call_nodes[key]

    def _exists(self, name: str) -> bool:
        """Whether the op of a variable is there, from before or by another copy."""
        if name in self._nodes:
            return True
        if self.graph.unique_name(name, mark_as_used=False) == name:
            return False  # at a twentieth of what it takes TensorFlow to say so by an error
        try:
            self.graph.get_operation_by_name(name)
        except KeyError:
            return False
        return True

    def _add_functions(self, functions: Iterable[Any]) -> None:
        for function in functions:
            name = function.signature.name
            if name not in self._functions:
                self._functions.add(name)
                self._graph_def.library.function.add().CopyFrom(function)

    def _add_variables(
        self, template: Template, scopes: dict[str, str], moved: dict[str, str]
    ) -> None:
        for variable in template.variables:
            # A rewrite that failed leaves ops behind, but no variable: it is listed anew.
            if variable.names["variable_name"].full(scopes) in self._listed:
                continue
            description = type(variable.description)()
            description.CopyFrom(variable.description)
            for field, name in variable.names.items():
                node = name.node(scopes)
                setattr(description, field, moved.get(node, node) + name.port)
            self._listed.add(description.variable_name)
            self._variables.append((variable.kind, description, variable.collections))
