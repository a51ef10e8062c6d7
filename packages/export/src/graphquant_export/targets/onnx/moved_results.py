"""Quantisers at results of layers that are joined or taken apart before something quantises them.

ONNX Runtime sums a layer as integers where a quantiser stands right behind it. It moves one there
itself, but not past these ops. The values are the same: both are on one grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.target_rules import MOVING_TYPES
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.round_values import ValueQuantizer, round_values

_NOT_PASSED = frozenset(
    {
        *("Concat", "ConcatV2", "Gather", "GatherV2", "Pack", "Slice", "Split", "SplitV"),
        *("StridedSlice", "Unpack"),
    }
)


def round_moved_results(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], results: Mapping[str, ValueGrid]
) -> tuple[tf.compat.v1.GraphDef, tuple[ValueQuantizer, ...]]:
    """`graph_def` with a fake quantiser at each of `results` that such an op takes, and those.

    Args:
        graph_def: The simulation of the target.
        outputs: Names of its outputs.
        results: Grid of the result of each layer that the target rounds, by the name of its node.
    """
    editor = GraphDefEditor(graph_def)
    names = {node.name for node in graph_def.node}
    wanted = {
        node: grid
        for node, grid in results.items()
        if node in names and node not in outputs and _stops(editor, node)
    }
    return round_values(graph_def, outputs, wanted)


def _stops(editor: GraphDefEditor, node: str) -> bool:
    """Whether what takes `node`, through ops that move values, is one of those."""
    waiting, seen = [node], {node}
    while waiting:
        for name, _ in editor.consumers(waiting.pop()):
            op_type = editor.node(name).op
            if op_type in _NOT_PASSED:
                return True
            if op_type in MOVING_TYPES and name not in seen:
                seen.add(name)
                waiting.append(name)
    return False
