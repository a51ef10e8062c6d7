"""Which grid each float value of the model gets, from those who take it.

A fake quantiser wants its own grid. What moves values about (PAD, MAX_POOL_2D …) wants what those
want that take its result. Whatever else takes a value takes it as float in the simulation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from graphquant_core.value_grid import ValueGrid, widest
from graphquant_export.targets.litert.float_graph import FloatGraph, Op
from graphquant_export.targets.litert.kinds import MOVING, SHAPE_ONLY

Wants = tuple[frozenset[ValueGrid], bool]


class Grids:
    """Grids of the values of `graph`.

    Args:
        graph: The float model.
        quantizers: Grid of each fake quantiser, by name.
    """

    def __init__(self, graph: FloatGraph, quantizers: Mapping[str, ValueGrid]) -> None:
        self.quantizers = quantizers
        self._takers: dict[int, list[tuple[Op | None, tuple[str, ...]]]] = defaultdict(list)
        for op in graph.ops:
            for edge in op.inputs:
                self._takers[edge.tensor].append((op, edge.quantizers))
        for edge in graph.outputs:
            self._takers[edge.tensor].append((None, edge.quantizers))
        self._wants: dict[int, Wants] = {}

    def of_value(self, tensor: int) -> ValueGrid | None:
        """The grid on which the value `tensor` loses nothing that those who take it need."""
        wanted, raw = self._wanted(tensor)
        return widest(wanted) if wanted and not raw else None

    def of_all(self, tensor: int) -> ValueGrid | None:
        """The one grid that all who take the value `tensor` want.

        Where they want several, each rounds it for itself: rounded to one of them first, it would
        be off by half a step of that on its way to the others.
        """
        wanted, raw = self._wanted(tensor)
        return next(iter(wanted)) if len(wanted) == 1 and not raw else None

    def _wanted(self, tensor: int) -> Wants:
        """(grids that are wanted, whether something takes the value as float)."""
        if tensor not in self._wants:
            grids: set[ValueGrid] = set()
            raw = False
            for op, path in self._takers[tensor]:
                found, unknown = self._wanted_by(op, path)
                grids |= found
                raw |= unknown
            self._wants[tensor] = (frozenset(grids), raw)
        return self._wants[tensor]

    def _wanted_by(self, op: Op | None, path: tuple[str, ...]) -> Wants:
        if path:
            return frozenset({self.quantizers[path[0]]}), False
        if op is None:
            return frozenset(), True
        if op.kind in SHAPE_ONLY:
            return frozenset(), False
        if op.kind not in MOVING and op.kind not in ("RELU", "RELU6"):
            return frozenset(), True
        several = [self._wanted(output) for output in op.outputs]
        grids = frozenset(grid for found, _ in several for grid in found)
        raw = any(unknown for _, unknown in several)
        if op.kind not in MOVING and not all(_saturates(op.kind, grid) for grid in grids):
            return frozenset(), True
        return grids, raw


def _saturates(kind: str, grid: ValueGrid) -> bool:
    """Whether `grid` cuts off whatever the activation function `kind` does."""
    return grid.low == 0 and (kind == "RELU" or grid.high <= 6 + grid.scale / 2)
