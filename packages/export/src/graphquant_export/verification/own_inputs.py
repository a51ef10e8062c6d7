"""Layers and outputs computed of what the runtime itself returned for the layers before them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_export.verification.truths import GraphRunner

Array = npt.NDArray[Any]


class OwnInputs:
    """The graph of `exact`, in which another value may be given to what takes one of `nodes`.

    So one session computes a layer both of the exact results of those before it and of what the
    runtime returned for them, and a difference that arises in one is not carried into the next.

    Args:
        exact: The graph.
        nodes: Names of the ops whose first output the runtime returned.
        wanted: Names of further ops or tensors whose values are asked for.
    """

    def __init__(self, exact: GraphRunner, nodes: Collection[str], wanted: Collection[str]) -> None:
        editor = GraphDefEditor(exact.graph.as_graph_def())
        self._given = {node: _opened(editor, exact.graph, node) for node in nodes}
        kept = dict.fromkeys([*nodes, *(name.partition(":")[0] for name in wanted)])
        self._runner = GraphRunner(editor.graph_def([*kept]))

    def close(self) -> None:
        """Closes what the graph was run in."""
        self._runner.close()

    def run(
        self,
        names: Iterable[str],
        feeds: Mapping[str, Array],
        returned: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Value of each of `names`.

        Args:
            names: Names of ops or tensors that were announced.
            feeds: By tensor name, as `checked_feeds` has them.
            returned: What the runtime returned for each node; by default the exact values.
        """
        values = {f"{self._given[node]}:0": value for node, value in (returned or {}).items()}
        return self._runner.run(names, {**feeds, **values})


def _opened(editor: GraphDefEditor, graph: tf.Graph, node: str) -> str:
    tensor = graph.get_operation_by_name(node).outputs[0]
    name = editor.unique_name(f"{node}/returned")
    takers = editor.consumers(node)
    shape = tensor.shape
    editor.add(node_def(name, "PlaceholderWithDefault", [node], dtype=tensor.dtype, shape=shape))
    for taker, port in takers:
        editor.set_input(taker, port, name)
    return name
