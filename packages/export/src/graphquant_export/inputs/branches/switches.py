"""Conditions of TensorFlow 1: a value goes through a Switch into one of two branches, which a Merge
ends; the ops of the other branch are dead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_core.graph.frozen.node_def import const_node, node_def

SWITCHES = frozenset({"Switch", "RefSwitch"})
_MERGES = frozenset({"Merge", "RefMerge"})


def take_branches(
    graph_def: tf.compat.v1.GraphDef, values: Mapping[str, bool], outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` with Identities for the Switches of `values` and for the Merges behind them.

    Args:
        graph_def: Frozen graph.
        values: What decides each Switch, by its name: its second output is taken if it is true.
        outputs: Names of the ops that are the model's outputs.

    Raises:
        ConfigError: An output is dead.
    """
    if not values:
        return graph_def
    dead = _Dead(graph_def)
    for name, value in values.items():
        dead.spread(_tensor(name, 0 if value else 1))
    for name in outputs:
        if name in dead.ops:
            raise ConfigError(
                f'outputs: "{name}" is in the branch of a condition that is never taken '
                f"({_conditions(values)})"
            )
    editor = GraphDefEditor(graph_def)
    for name, value in values.items():
        if name not in dead.ops:
            _pass_on(editor, name, _data(editor, name)[0], 1 if value else 0)
    for name, alive in dead.merges().items():
        _merge(editor, name, alive)
    for name in values:
        if name not in dead.ops:
            _wait_no_longer(editor, name)
    return editor.graph_def(outputs)


class _Dead:
    """Which ops never run, since they take what the branch that isn't taken has."""

    def __init__(self, graph_def: tf.compat.v1.GraphDef) -> None:
        self.ops: set[str] = set()
        self._nodes = {node.name: node for node in graph_def.node}
        self._takers: dict[str, list[str]] = {}
        for node in graph_def.node:
            for name in node.input:
                self._takers.setdefault(tensor_name(name), []).append(node.name)
        self._outputs: dict[str, set[str]] = {}
        for name in self._takers:
            self._outputs.setdefault(name.removeprefix("^").partition(":")[0], set()).add(name)
        self._tensors: set[str] = set()

    def spread(self, tensor: str) -> None:
        """Notes that `tensor` never has a value, and what follows from that."""
        waiting = [tensor]
        while waiting:
            name = waiting.pop()
            if name in self._tensors:
                continue
            self._tensors.add(name)
            for taker in self._takers.get(name, ()):
                if taker not in self.ops and not self._lives(taker):
                    self.ops.add(taker)
                    waiting += self._outputs.get(taker, ())

    def merges(self) -> dict[str, list[tuple[int, str]]]:
        """Those that lost an input and live: the places and names of the inputs that are left."""
        found = {}
        for name, node in self._nodes.items():
            if node.op in _MERGES and name not in self.ops:
                data = [each for each in node.input if not each.startswith("^")]
                alive = [(i, x) for i, x in enumerate(data) if tensor_name(x) not in self._tensors]
                if len(alive) < len(data):
                    found[name] = alive
        return found

    def _lives(self, name: str) -> bool:
        """Whether the op runs although one of its inputs is dead: a Merge with another one does."""
        node = self._nodes[name]
        return node.op in _MERGES and any(
            tensor_name(taken) not in self._tensors
            for taken in node.input
            if not taken.startswith("^")
        )


def _merge(editor: GraphDefEditor, name: str, alive: Sequence[tuple[int, str]]) -> None:
    """Takes the dead inputs from a Merge, and the Merge out where one is left."""
    if len(alive) > 1:
        node = tf.compat.v1.NodeDef()
        node.CopyFrom(editor.node(name))
        node.attr["N"].i = len(alive)
        waits = [taken for taken in node.input if taken.startswith("^")]
        node.input[:] = [*(taken for _, taken in alive), *waits]
        editor.replace(node)
        return
    ((place, tensor),) = alive
    for taker, port in editor.consumers(_tensor(name, 1)):
        index = editor.unique_name(f"{name}/value_index")
        editor.set_input(taker, port, editor.add(const_node(index, np.int32(place))))
    _pass_on(editor, name, tensor, 0)


def _pass_on(editor: GraphDefEditor, name: str, tensor: str, output: int) -> None:
    """Puts an Identity of `tensor` in the place of an op of which `output` is taken."""
    old = editor.node(name)
    waits = [taken for taken in old.input if taken.startswith("^")]
    dtype = tf.as_dtype(old.attr["T"].type)
    editor.replace(node_def(name, "Identity", [tensor, *waits], T=dtype))
    if output:
        for taker, port in editor.consumers(_tensor(name, output)):
            editor.set_input(taker, port, name)


def _wait_no_longer(editor: GraphDefEditor, name: str) -> None:
    """Lets nothing wait for the outcome, as what a branch doesn't take from outside does.

    Args:
        editor: The graph.
        name: Name of the Identity that was a Switch.
    """
    behind = [taker for taker, _ in editor.consumers(name) if editor.node(taker).op == "Identity"]
    for pivot in (name, *behind):
        for taker, _ in editor.consumers(f"^{pivot}"):
            node = tf.compat.v1.NodeDef()
            node.CopyFrom(editor.node(taker))
            node.input[:] = [taken for taken in node.input if taken != f"^{pivot}"]
            editor.replace(node)


def _data(editor: GraphDefEditor, name: str) -> list[str]:
    return [taken for taken in editor.node(name).input if not taken.startswith("^")]


def _tensor(name: str, output: int) -> str:
    return f"{name}:{output}" if output else name


def _conditions(values: Mapping[str, bool]) -> str:
    name, value = next(iter(values.items()))
    return f'that of "{name}" is {value}' + (
        f", and {len(values) - 1} more" if len(values) > 1 else ""
    )
