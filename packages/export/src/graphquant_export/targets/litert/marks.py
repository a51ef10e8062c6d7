"""Fake quantisers that the converter carries through, each known by its scale.

It turns a fake quantiser into QUANTIZE and DEQUANTIZE, which it may move over what moves values
about, and renames. Their scale stays. So every fake quantiser gets one of its own, and its real
grid is put in its place afterwards. The converter also folds nothing across a fake quantiser: where
nothing may be folded, one is put in as a mark, and left out again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import node_def

FAKE_QUANTIZER = "FakeQuantWithMinMaxArgs"
FUSED_ACTIVATIONS = frozenset({"Relu", "Relu6"})

_UNIT = 2.0**40
"""Far from any scale that a model has."""


class Marks:
    """Numbers the fake quantisers of the graph in `editor`, and puts marks in.

    Attributes:
        names: Name of each fake quantiser by its number; ``None`` for a mark.
    """

    def __init__(self, editor: GraphDefEditor, quantizers: Iterable[str]) -> None:
        self._editor = editor
        self.names: dict[int, str | None] = {}
        for name in dict.fromkeys(quantizers):
            low, high = self._next_range(name)
            node = editor.node(name)
            node.attr["min"].f, node.attr["max"].f = low, high

    def keep_apart(self, result: str) -> None:
        """Lets nothing but Relu and Relu6 be merged with what computes `result`."""
        takers = [
            (taker, port)
            for taker, port in self._editor.consumers(result)
            if self._editor.node(taker).op not in FUSED_ACTIVATIONS
        ]
        if takers:
            mark = self.add(result)
            for taker, port in takers:
                self._editor.set_input(taker, port, mark)

    def add(self, x: str, scope: str | None = None) -> str:
        """Name of a mark that takes `x`; it begins with `scope`, or with `x`."""
        low, high = self._next_range(None)
        name = self._editor.unique_name(f"{scope or x}/mark")
        return self._editor.add(
            node_def(name, FAKE_QUANTIZER, [x], min=low, max=high, num_bits=8, narrow_range=False)
        )

    def _next_range(self, name: str | None) -> tuple[float, float]:
        number = len(self.names) + 1
        self.names[number] = name
        return -128 * number * _UNIT, 127 * number * _UNIT


def number_of(quantization: Any) -> int | None:
    """The number of the fake quantiser with these ``QuantizationParametersT``, if it has one."""
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return None
    number = float(quantization.scale[0]) / _UNIT
    near = round(number)
    return near if near > 0 and np.isclose(number, near, rtol=1e-5) else None
