"""Layers and outputs computed of what the runtime itself returned for the layers before them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_export.verification.truths import GraphRunner

Array = npt.NDArray[Any]


class OwnInputs:
    """The graph of `exact`, cut behind each of `nodes`.

    What takes the value of a node takes a placeholder in its place, so that a difference that
    arises in one layer is not carried into the next.

    Args:
        exact: The graph.
        nodes: Names of the ops whose first output the runtime returned.
        outputs: Names of the ops that are the model's outputs.
    """

    def __init__(
        self, exact: GraphRunner, nodes: Collection[str], outputs: Collection[str]
    ) -> None:
        editor = GraphDefEditor(exact.graph.as_graph_def())
        self._given = {node: _cut(editor, exact.graph, node) for node in nodes}
        self._wanted = list(dict.fromkeys([*nodes, *outputs]))
        self._runner = GraphRunner(editor.graph_def(self._wanted))

    def close(self) -> None:
        """Closes what the graph was run in."""
        self._runner.close()

    def run(self, feeds: Mapping[str, Array], returned: Mapping[str, Array]) -> dict[str, Array]:
        """Value of each node, and of each output.

        Args:
            feeds: By tensor name, as `checked_feeds` has them.
            returned: What the runtime returned for each node.
        """
        values = {f"{self._given[node]}:0": value for node, value in returned.items()}
        return self._runner.run(self._wanted, {**feeds, **values})


def _cut(editor: GraphDefEditor, graph: tf.Graph, node: str) -> str:
    tensor = graph.get_operation_by_name(node).outputs[0]
    name = editor.unique_name(f"{node}/returned")
    takers = editor.consumers(node)
    editor.add(node_def(name, "Placeholder", dtype=tensor.dtype, shape=tensor.shape))
    for taker, port in takers:
        editor.set_input(taker, port, name)
    return name
