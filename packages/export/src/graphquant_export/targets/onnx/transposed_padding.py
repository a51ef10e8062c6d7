"""Transposed convolutions whose result is larger than their windows reach.

Where the kernel is smaller than the stride, or the last stride is incomplete, TensorFlow's result
ends in zeros: output_padding in ONNX. tf2onnx writes negative padding, half of it in front, which
ONNX refuses.
"""

from __future__ import annotations

from typing import Any


def pad_behind(graph: Any) -> None:
    """Puts all that is missing of results of transposed convolutions in `graph` behind them.

    Args:
        graph: A graph of tf2onnx.
    """
    for node in graph.get_nodes():
        pads = node.get_attr("pads") if node.type == "ConvTranspose" else None
        if pads is None:
            continue
        sides = len(pads.ints) // 2
        front, behind = list(pads.ints[:sides]), list(pads.ints[sides:])
        missing = [max(-(start + end), 0) for start, end in zip(front, behind, strict=True)]
        if any(missing):
            kept = [
                [0 if lack else pad for pad, lack in zip(side, missing, strict=True)]
                for side in (front, behind)
            ]
            node.set_attr("pads", [*kept[0], *kept[1]])
            node.set_attr("output_padding", missing)
