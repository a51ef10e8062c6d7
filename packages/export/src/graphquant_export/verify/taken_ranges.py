"""What range of a tensor's values the layers behind it take in."""

from __future__ import annotations

from collections.abc import Mapping

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.shape_ops import SHAPE_TYPES
from graphquant_export.simulation import SimulatedGraph

Range = tuple[float, float]

MOVING_TYPES = frozenset({"ExpandDims", "Identity", "Pad", "Reshape", "Squeeze", "Transpose"})
"""Ops whose first input's values go on unchanged."""


class TakenRanges:
    """For each tensor of `simulated`, the range beyond which nothing takes its values.

    Args:
        simulated: The simulation.
    """

    def __init__(self, simulated: SimulatedGraph) -> None:
        self._editor = GraphDefEditor(simulated.graph_def)
        self._outputs = frozenset(simulated.outputs)
        self._ranges: Mapping[str, Range] = {
            layer.quantizer: (
                (-128 - layer.offset_d) * layer.scale_d,
                (127 - layer.offset_d) * layer.scale_d,
            )
            for layer in simulated.layers
        }

    def of(self, name: str) -> Range | None:
        """The union of the ranges that quantisers clip the first output of the op `name` to.

        ``None`` when something else takes it, too, or when it is an output of the model.
        """
        takers = [
            (taker, port)
            for taker, port in self._editor.consumers(name)
            if self._editor.node(taker).op not in SHAPE_TYPES
        ]
        if name in self._outputs or not takers:
            return None
        found = []
        for taker, port in takers:
            taken = self._ranges.get(taker)
            if taken is None and port == 0 and self._editor.node(taker).op in MOVING_TYPES:
                taken = self.of(taker)
            if taken is None:
                return None
            found.append(taken)
        return min(low for low, _ in found), max(high for _, high in found)
