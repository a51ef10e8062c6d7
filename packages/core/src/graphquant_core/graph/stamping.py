"""Copies of templates, imported into a graph together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from graphquant_core.graph.template import KEY, SCOPE, VALUES, Template

v1 = tf.compat.v1

# What a session finds a variable's value by: two handles with one name are one variable.
_RESOURCE_NAMES = ("shared_name", "debug_name")


class StampSheet:
    """Collects copies of templates for `graph`; `apply` imports them all.

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
        names = {SCOPE: unique, KEY: key}
        self._graph_def.versions.CopyFrom(template.graph_def.versions)
        self._add_functions(template.graph_def.library.function)
        for node in template.graph_def.node:
            name = _renamed(node.name, names)
            own = node.name.startswith(f"{KEY}/")
            # Only the variables can be there already: the scope is a new one.
            if node.name == VALUES or (own and (name in self._nodes or self._in_graph(name))):
                continue
            copy = self._graph_def.node.add()
            copy.CopyFrom(node)
            copy.name = name
            if own:
                copy.device = variable_device
            elif "_class" not in node.attr:  # a colocated op, such as a read, goes along
                copy.device = device
            copy.input[:] = [
                fed if taken == VALUES else self._mapped(_renamed(taken, names))
                for taken in node.input
            ]
            if "_class" in copy.attr:
                places = copy.attr["_class"].list.s
                places[:] = [_renamed_place(place, names) for place in places]
            for attribute in _RESOURCE_NAMES:
                if attribute in copy.attr:
                    resource = copy.attr[attribute].s.decode()
                    copy.attr[attribute].s = _renamed(resource, names).encode()
            self._nodes.add(name)
        self._add_variables(template, names)
        output, scale, offset, calibrated = template.outputs
        return (
            _renamed(output, names),
            _renamed(scale, names),
            _renamed(offset, names),
            None if calibrated is None else _renamed(calibrated, names),
        )

    def apply(self) -> None:
        """Import every copy, whatever scopes the caller is in, and put variables in collections."""
        with (
            self.graph.as_default(),
            tf.control_dependencies(None),
            v1.device(None),
            v1.name_scope(None),
        ):
            tf.import_graph_def(self._graph_def, input_map=self._inputs, name="")
            for kind, description, collections in self._variables:
                variable = kind.from_proto(description)
                for collection in collections:
                    self.graph.add_to_collection(collection, variable)

    def _in_graph(self, name: str) -> tf.Operation | None:
        """The op of a variable that the graph has from before."""
        try:
            return self.graph.get_operation_by_name(name)
        except KeyError:
            return None

    def _mapped(self, name: str) -> str:
        """`name` of an input, made known to the import when the graph has its op from before."""
        op = None if name.partition(":")[0] in self._nodes else self._in_graph(name)
        if op is not None:
            self._inputs[name] = op.outputs[0]
        return name

    def _add_functions(self, functions: Iterable[Any]) -> None:
        for function in functions:
            name = function.signature.name
            if name not in self._functions:
                self._functions.add(name)
                self._graph_def.library.function.add().CopyFrom(function)

    def _add_variables(self, template: Template, names: dict[str, str]) -> None:
        for variable in template.variables:
            description = type(variable.description)()
            description.CopyFrom(variable.description)
            for field in (
                "variable_name",
                "initializer_name",
                "snapshot_name",
                "initial_value_name",
            ):
                setattr(description, field, _renamed(getattr(description, field), names))
            # A rewrite that failed leaves ops behind, but no variable: it is listed anew.
            if description.variable_name not in self._listed:
                self._listed.add(description.variable_name)
                self._variables.append((variable.kind, description, variable.collections))


def _renamed(name: str, names: dict[str, str]) -> str:
    """`name` of a node, tensor or control input, with its first scope replaced."""
    control = "^" if name.startswith("^") else ""
    scope, slash, rest = name.removeprefix("^").partition("/")
    return control + names.get(scope, scope) + slash + rest


def _renamed_place(place: bytes, names: dict[str, str]) -> bytes:
    """A colocation, ``loc:@<node>``."""
    prefix = "loc:@"
    return f"{prefix}{_renamed(place.decode().removeprefix(prefix), names)}".encode()
