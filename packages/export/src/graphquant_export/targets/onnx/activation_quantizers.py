"""Quantisers before the activation functions that a runtime doesn't merge with a layer.

A Relu or Relu6 that the quantiser behind it doesn't make needless keeps ONNX Runtime from rounding
the sums before it. The same quantiser then stands before it as well, which changes no number: 0.0
is on its grid, and both functions only cut off what lies outside of an interval.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.shape_ops import SHAPE_TYPES
from graphquant_core.target_rules import ACTIVATION_TYPES, JOINING_TYPES, MOVING_TYPES
from graphquant_export.quantized.simulate import SimulatedGraph
from graphquant_export.targets.onnx.conversion import Quantizer


def quantize_before_activations(
    graph_def: tf.compat.v1.GraphDef,
    simulated: SimulatedGraph,
    quantizers: Mapping[str, Quantizer],
) -> tuple[tf.compat.v1.GraphDef, dict[str, Quantizer]]:
    """`graph_def` with more quantisers, and all of them by the name of their node.

    What reads the shape of a quantised result reads it behind the quantiser: the result itself
    would be kept as floats for it.

    Args:
        graph_def: The simulation, with the target's quantisers.
        simulated: What it was made of.
        quantizers: The quantisers that it has.
    """
    editor = GraphDefEditor(graph_def)
    added = dict(quantizers)
    for result in dict.fromkeys(layer.result for layer in simulated.layers):
        node = _activated(editor, result, simulated.outputs)
        direct = [name for name, _ in editor.consumers(node) if name in quantizers]
        for consumer, port in editor.consumers(node) if direct else ():
            if editor.node(consumer).op in SHAPE_TYPES:
                editor.set_input(consumer, port, direct[0])
        if node != result:
            added |= _quantize_before(editor, node, added)
    return editor.graph_def(simulated.outputs), added


def _activated(editor: GraphDefEditor, result: str, outputs: Collection[str]) -> str:
    """The activation function that alone takes `result`, else `result`."""
    consumers = editor.consumers(result)
    if len(consumers) != 1 or result in outputs:
        return result
    ((name, _),) = consumers
    merged = editor.node(name).op in ACTIVATION_TYPES and name not in outputs
    return name if merged else result


def _quantize_before(
    editor: GraphDefEditor, activation: str, quantizers: Mapping[str, Quantizer]
) -> dict[str, Quantizer]:
    """The quantiser that is added before the op `activation`, by its name."""
    behind = {_behind(editor, name, quantizers) for name, _ in editor.consumers(activation)}
    (name, *others) = behind or {None}
    node = editor.node(activation)
    if others or name is None or (node.op == "Relu" and quantizers[name].offset == -128):
        return {}
    scope = editor.unique_name(f"{activation}/sums_quant")
    copied = type(node)()
    copied.CopyFrom(editor.node(name))
    copied.name = f"{scope}/FakeQuant"
    copied.input[:] = [node.input[0]]
    editor.set_input(activation, 0, editor.add(copied))
    return {copied.name: attrs.evolve(quantizers[name], scope=scope)}


def _behind(editor: GraphDefEditor, name: str, quantizers: Collection[str]) -> str | None:
    """The quantiser that is `name`, or that alone takes what it moves."""
    while name not in quantizers:
        consumers = editor.consumers(name)
        moves = editor.node(name).op in MOVING_TYPES - JOINING_TYPES
        if not moves or len(consumers) != 1:
            return None
        name = consumers[0][0]
    return name
