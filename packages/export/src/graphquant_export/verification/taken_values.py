"""What is taken of a layer's result, before the result is rounded.

A pooling takes the largest values alone, and a slice a part of them: the grid of the result is made
for these, and the others may be cut off.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.target_rules import JOINING_TYPES, MOVING_TYPES
from graphquant_export.quantized.target_simulation import PlannedResult

_CHOOSING = frozenset(
    {"Gather", "GatherV2", "MaxPool", "Slice", "Split", "SplitV", "StridedSlice", "Unpack"}
)
_SEVERAL = ("num_split", "num")
"""Attributes that say how many outputs an op has."""


def with_taken_values(
    graph_def: tf.compat.v1.GraphDef,
    outputs: Collection[str],
    results: Mapping[str, PlannedResult],
) -> tuple[tf.compat.v1.GraphDef, dict[str, tuple[str, ...]]]:
    """`graph_def` with the ops that choose among a result's values once more, before its rounding.

    Args:
        graph_def: The graph of integers, with a fake quantiser behind each result.
        outputs: Names of its outputs.
        results: What each layer returns, by its name.

    Returns:
        The graph, and for each layer the tensors that together hold what is taken of its result:
        the result itself, where anything takes it whole.
    """
    editor = GraphDefEditor(graph_def)
    taken = {}
    for layer, result in results.items():
        leaves = _Leaves(editor, outputs)
        leaves.follow(result.node, result.node, chosen=False)
        taken[layer] = (result.node,) if leaves.whole else tuple(leaves.found)
    kept = {*outputs, *(tensor.partition(":")[0] for names in taken.values() for tensor in names)}
    return editor.graph_def(kept), taken


class _Leaves:
    """Collects what is taken of one result."""

    def __init__(self, editor: GraphDefEditor, outputs: Collection[str]) -> None:
        self._editor = editor
        self._outputs = outputs
        self.found: dict[str, None] = {}
        self.whole = False

    def follow(self, tensor: str, exact: str, *, chosen: bool) -> None:
        """Goes on to what takes `tensor`, whose value before it is rounded is `exact`."""
        if tensor in self._outputs:
            self._add(exact, chosen)
        for name, port in self._editor.consumers(tensor):
            op = self._editor.node(name).op
            if op.startswith("FakeQuant") and tensor == exact:
                self.follow(name, exact, chosen=chosen)
            elif op in MOVING_TYPES - JOINING_TYPES:
                copy = name if tensor == exact else self._copy(name, port, exact)
                for ending in self._endings(name):
                    self.follow(name + ending, copy + ending, chosen=chosen or op in _CHOOSING)
            else:
                self._add(exact, chosen)

    def _add(self, exact: str, chosen: bool) -> None:
        self.whole |= not chosen
        self.found[exact] = None

    def _copy(self, name: str, port: int, exact: str) -> str:
        copy = tf.compat.v1.NodeDef()
        copy.CopyFrom(self._editor.node(name))
        copy.name = self._editor.unique_name(f"{name}/taken")
        copy.input[port] = exact
        return self._editor.add(copy)

    def _endings(self, name: str) -> list[str]:
        """What the names of its outputs end in."""
        attributes = self._editor.node(name).attr
        several = next((attributes[key].i for key in _SEVERAL if key in attributes), 1)
        return ["", *(f":{number}" for number in range(1, several))]
