"""The plan: every op of a supported type, the decision on it, and why."""

from __future__ import annotations

import json
from typing import Any

import attrs

from graphquant_core.exceptions import UnknownNameError
from graphquant_core.layer import Layer, Skip
from graphquant_core.listing import sentences
from graphquant_core.suggestions import closest

HEADER = ("op", "type", "decision", "channels", "why or advice")


@attrs.frozen
class Plan:
    """Layers and skips of one graph, in the order in which their ops were created.

    Every op whose type has a handler stands in exactly one row. Nothing of the graph is held.
    """

    rows: tuple[Layer | Skip, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The rows that are quantised."""
        return tuple(row for row in self.rows if isinstance(row, Layer))

    @property
    def skips(self) -> tuple[Skip, ...]:
        """The rows that stay float."""
        return tuple(row for row in self.rows if isinstance(row, Skip))

    def layer(self, name: str) -> Layer:
        """The layer called `name`.

        Raises:
            UnknownNameError: The plan has no such row, or the row is a skip (with its reason).
        """
        for row in self.rows:
            if row.name == name:
                if isinstance(row, Skip):
                    raise UnknownNameError(f'layer "{name}" cannot be quantised: {row.reason}')
                return row
        known = [row.name for row in self.layers]
        raise UnknownNameError(f'the graph has no layer "{name}"{closest(name, known)}')

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: ``{"layers": [...], "skips": [...]}``."""
        return {
            "layers": [attrs.asdict(layer) for layer in self.layers],
            "skips": [attrs.asdict(skip) for skip in self.skips],
        }

    def to_json(self) -> str:
        """`to_dict` as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def cells(self) -> list[tuple[str, str, str, str, str]]:
        """The rows as text, with the cells that `HEADER` names."""
        return [_cells(row) for row in self.rows]

    def __str__(self) -> str:
        lines = [HEADER, *self.cells()]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([*table, f"{len(self.layers)} quantised, {len(self.skips)} skipped"])


def _cells(row: Layer | Skip) -> tuple[str, str, str, str, str]:
    if isinstance(row, Skip):
        return row.name, row.op_type, "skip", "-", row.reason
    channels = "-" if row.output_channels is None else str(row.output_channels)
    return row.name, row.op_type, "quantise", channels, sentences(row.advice)
