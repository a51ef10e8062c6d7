"""What Ascend's compiler makes of a graph: Relu6 that it doesn't fuse, layers left in float."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.record import LayerFactors
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.targets.ascend.average_pooling import float_fallback


def open_relu6(
    editor: GraphDefEditor,
    outputs: Collection[str],
    factors_of: Mapping[str, LayerFactors],
) -> None:
    """Makes Relu of each Relu6 that only AscendQuants take whose range ends at 6 or below.

    They saturate what Relu6 would cut off, and the compiler fuses Relu with the layer before it.

    Args:
        editor: The graph to change.
        outputs: Names of the outputs of the model.
        factors_of: The factors of each AscendQuant, by its name.
    """
    for quant in factors_of:
        source = editor.node(quant).input[0]
        if not editor.has(source) or editor.node(source).op != "Relu6" or source in outputs:
            continue
        takers = [name for name, _ in editor.consumers(source)]
        if all(name in factors_of and _ends_below_6(factors_of[name]) for name in takers):
            editor.node(source).op = "Relu"


def _ends_below_6(factors: LayerFactors) -> bool:
    # In float32, where 255 steps of 6 / 255 are 6.
    return bool(np.float32(127 - factors.offset_d) * np.float32(factors.scale_d) <= np.float32(6))


def advice_on(layer: QuantizedLayer) -> tuple[str, ...]:
    """Sentences about what the compiler makes of `layer`."""
    sentences = _on_scales(layer), _on_execution(layer)
    return tuple(sentence for sentence in sentences if sentence is not None)


def _on_scales(layer: QuantizedLayer) -> str | None:
    scale_w = layer.factors.scale_w
    if not layer.layer.one_weight_scale or scale_w is None or len(scale_w) == 1:
        return None
    return (
        f"its weight has {len(scale_w)} scales, where AMCT gives a {layer.op.type} one: quantise "
        "the model for ascend"
    )


def _on_execution(layer: QuantizedLayer) -> str | None:
    op = layer.op
    if op.type == "Conv2DBackpropInput":
        if op.inputs[0].op.type == "Const" or op.outputs[0].shape.is_fully_defined():
            return None
        return (
            "its input_sizes are not constant, which Ascend's compiler wants: give the "
            "placeholders of the model a static shape, batch included"
        )
    reason = float_fallback(op) if op.type == "AvgPool" else None
    return (
        f"Ascend's compiler is known to compute it in float, because {reason}" if reason else None
    )
