"""Editing of a GraphDef by name, with the names of tensors in one form (``op``, not ``op:0``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import tensorflow as tf

from graphquant_core.graph.frozen.bypassed import with_activations
from graphquant_core.graph.functions import functions_called_by


class GraphDefEditor:
    """A copy of `graph_def` whose nodes can be added, renamed and wired anew.

    Nodes keep the order of `graph_def`; added ones follow in the order in which they were added.
    """

    def __init__(self, graph_def: tf.compat.v1.GraphDef) -> None:
        copied = tf.compat.v1.GraphDef()
        copied.CopyFrom(with_activations(graph_def))
        self._rest = tf.compat.v1.GraphDef(versions=copied.versions, library=copied.library)
        self._nodes: dict[str, tf.compat.v1.NodeDef] = {}
        self._takers: dict[str, dict[str, None]] = defaultdict(dict)
        self._taken_names: set[str] = set()
        for node in copied.node:
            self.add(node)

    def node(self, name: str) -> tf.compat.v1.NodeDef:
        """The node called `name`. Its inputs are changed through `set_input` only."""
        return self._nodes[name]

    def has(self, name: str) -> bool:
        """Whether there is a node called `name`."""
        return name in self._nodes

    def add(self, node: tf.compat.v1.NodeDef) -> str:
        """Adds `node`, whose name must be free, and returns that name."""
        self._nodes[node.name] = node
        self._claim(node.name)
        for name in node.input:
            self._takers[_op_name(name)][node.name] = None
        return str(node.name)

    def consumers(self, tensor: str) -> list[tuple[str, int]]:
        """Every (node name, input index) that takes `tensor`, in the order of the nodes."""
        wanted = tensor_name(tensor)
        return [
            (taker, port)
            for taker in self._takers.get(_op_name(wanted), ())
            for port, name in enumerate(self._nodes[taker].input)
            if tensor_name(name) == wanted
        ]

    def set_input(self, name: str, port: int, tensor: str) -> None:
        """Lets input `port` of the node `name` take `tensor`."""
        self._nodes[name].input[port] = tensor_name(tensor)
        self._takers[_op_name(tensor)][name] = None

    def move_control_edges(self, old: str, new: str) -> None:
        """Lets every node that waits for the op `old` wait for the op `new`."""
        for taker, port in self.consumers(f"^{old}"):
            self.set_input(taker, port, f"^{new}")

    def replace(self, node: tf.compat.v1.NodeDef) -> None:
        """Puts `node` in the place of the node with its name."""
        self._nodes[node.name].CopyFrom(node)
        for name in node.input:
            self._takers[_op_name(name)][node.name] = None

    def rename(self, old: str, new: str) -> None:
        """Renames the node `old`; who takes its tensors is not changed."""
        renamed = {new if name == old else name: node for name, node in self._nodes.items()}
        node = renamed[new]
        node.name = new
        self._nodes = renamed
        self._claim(new)
        for name in node.input:
            self._takers[_op_name(name)][new] = None
        for takers in self._takers.values():
            takers.pop(old, None)

    def unique_name(self, name: str) -> str:
        """`name`, or the first of ``name_1``, ``name_2`` … that neither a node nor a scope has."""
        candidate, number = name, 0
        while candidate.casefold() in self._taken_names:
            number += 1
            candidate = f"{name}_{number}"
        return candidate

    def drop_unneeded(
        self, outputs: Iterable[str], replaced: Iterable[tuple[str, int]] = ()
    ) -> None:
        """Forgets the nodes that `outputs` don't need, so that their names are free.

        Args:
            outputs: Names of the nodes to keep, with what they need.
            replaced: (node name, input index) of inputs that are about to be set anew; what they
                take now isn't needed for them.
        """
        needed = self._needed(outputs, frozenset(replaced))
        self._nodes = {name: node for name, node in self._nodes.items() if name in needed}
        for takers in self._takers.values():
            for taker in takers.keys() - needed:
                del takers[taker]
        self._taken_names.clear()
        for name in self._nodes:
            self._claim(name)

    def graph_def(self, outputs: Iterable[str]) -> tf.compat.v1.GraphDef:
        """The nodes and functions that `outputs` need, without colocation to what is gone."""
        needed = self._needed(outputs)
        result = tf.compat.v1.GraphDef(versions=self._rest.versions)
        for name, node in self._nodes.items():
            if name in needed:
                added = result.node.add()
                added.CopyFrom(node)
                added.attr.pop("_class", None)
        functions = self._needed_functions(result.node)
        result.library.function.extend(
            function
            for function in self._rest.library.function
            if function.signature.name in functions
        )
        result.library.gradient.extend(
            gradient
            for gradient in self._rest.library.gradient
            if gradient.function_name in functions
        )
        return result

    def _needed_functions(self, nodes: Iterable[tf.compat.v1.NodeDef]) -> set[str]:
        bodies = {
            function.signature.name: function.node_def for function in self._rest.library.function
        }
        needed: set[str] = set()
        if not bodies:
            return needed
        waiting = [name for node in nodes for name in functions_called_by(node)]
        while waiting:
            name = waiting.pop()
            if name in bodies and name not in needed:
                needed.add(name)
                waiting.extend(
                    called for node in bodies[name] for called in functions_called_by(node)
                )
        return needed

    def _needed(
        self, outputs: Iterable[str], replaced: frozenset[tuple[str, int]] = frozenset()
    ) -> set[str]:
        needed: set[str] = set()
        waiting = list(outputs)
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting.extend(
                    _op_name(taken)
                    for port, taken in enumerate(self._nodes[name].input)
                    if (name, port) not in replaced
                )
        return needed

    def _claim(self, name: str) -> None:
        # A scope is a name too: TensorFlow uniquifies both together, ignoring case.
        folded = name.casefold()
        while folded and folded not in self._taken_names:
            self._taken_names.add(folded)
            folded = folded.rpartition("/")[0]


def tensor_name(name: str) -> str:
    """`name` as a node's input has it: ``"op"`` for ``"op:0"``."""
    return name.removesuffix(":0")


def _op_name(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]
