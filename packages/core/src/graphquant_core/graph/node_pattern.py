"""A template's node, its names taken apart once, so that each copy only puts them together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

# What a session finds a variable's value by: two handles with one name are one variable.
_RESOURCE_NAMES = ("shared_name", "debug_name")
_PLACE = "loc:@"


@attrs.frozen
class NamePattern:
    """The name of a node, a tensor or a control input, with its first scope open.

    Attributes:
        mark: ``"^"`` of a control input, else nothing.
        scope: The scope that a copy replaces.
        rest: The node's name behind that scope.
        port: ``":1"`` and the like, nothing for port 0.
    """

    mark: str
    scope: str
    rest: str
    port: str

    @classmethod
    def of(cls, name: str) -> NamePattern:
        """The pattern of `name`."""
        mark = "^" if name.startswith("^") else ""
        node, colon, port = name.removeprefix("^").partition(":")
        scope, slash, rest = node.partition("/")
        return cls(mark, scope, slash + rest, colon + port)

    def node(self, scopes: Mapping[str, str]) -> str:
        """Name of the node in a copy whose scopes are `scopes`."""
        return scopes.get(self.scope, self.scope) + self.rest

    def full(self, scopes: Mapping[str, str]) -> str:
        """The whole name in a copy whose scopes are `scopes`."""
        return f"{self.mark}{self.node(scopes)}{self.port}"


@attrs.frozen(eq=False)
class NodePattern:
    """A node of a template.

    Attributes:
        node: The node as it is in the template.
        name: Its name.
        inputs: Names of what it takes.
        places: Names of the nodes that it stands beside.
        resources: Attributes that name a variable's value.
        variable: Name of the variable's op that it belongs to; its own name when it is none's.
        is_constant: Whether all copies can take the first one's.
    """

    node: Any
    name: NamePattern
    inputs: tuple[NamePattern, ...]
    places: tuple[NamePattern, ...]
    resources: Mapping[str, NamePattern]
    variable: NamePattern
    is_constant: bool


def node_patterns(
    nodes: Sequence[Any], variables: Collection[str], outputs: Collection[NamePattern | None]
) -> tuple[NodePattern, ...]:
    """The patterns of `nodes`.

    Args:
        nodes: Nodes of a template.
        variables: Names of its variables' ops.
        outputs: The tensors that it returns, which each copy has for itself.
    """
    returned = {(output.scope, output.rest) for output in outputs if output}
    return tuple(_pattern(node, variables, returned) for node in nodes)


def _pattern(node: Any, variables: Collection[str], returned: set[tuple[str, str]]) -> NodePattern:
    name = NamePattern.of(node.name)
    places = node.attr["_class"].list.s if "_class" in node.attr else ()
    owner = next((v for v in variables if f"{node.name}/".startswith(f"{v}/")), node.name)
    return NodePattern(
        node,
        name,
        tuple(map(NamePattern.of, node.input)),
        tuple(NamePattern.of(place.decode().removeprefix(_PLACE)) for place in places),
        {
            attribute: NamePattern.of(node.attr[attribute].s.decode())
            for attribute in _RESOURCE_NAMES
            if attribute in node.attr
        },
        NamePattern.of(owner),
        node.op == "Const" and not node.input and (name.scope, name.rest) not in returned,
    )


def place(name: str) -> bytes:
    """The attribute of a node that stands beside the node `name`."""
    return f"{_PLACE}{name}".encode()
