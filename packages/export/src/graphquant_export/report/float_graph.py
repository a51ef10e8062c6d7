"""The model without quantisation: what goes into each fake quantiser goes on as it is."""

from __future__ import annotations

import attrs
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_core.graph.rewire import WEIGHT_INPUT, marked_input
from graphquant_export.quantized.simulate import SimulatedGraph

CONCATS = ("Concat", "ConcatV2")


@attrs.frozen(eq=False)
class FloatGraph:
    """The float model and the tensors in it that layers are compared by.

    Attributes:
        graph_def: The graph.
        results: Name of the op whose first output is what a layer's result stands for, batch norm
            included, by the name of the layer.
    """

    graph_def: tf.compat.v1.GraphDef
    results: dict[str, str]


def float_graph(simulated: SimulatedGraph) -> FloatGraph:
    """The model that is simulated, without the fake quantisers of its quantised layers."""
    editor = GraphDefEditor(simulated.model.graph_def)
    places = [layer.place for layer in simulated.model.layers]
    for place in places:
        name, layer = place.op.name, place.layer
        editor.set_input(name, layer.activation_port, tensor_name(place.activation.name))
        if place.split is not None:
            editor.set_input(place.activation.op.name, 1, tensor_name(place.split.name))
        if place.trained and layer.weight_port is not None:
            weight = marked_input(place.op.inputs[layer.weight_port], WEIGHT_INPUT)
            editor.set_input(name, layer.weight_port, tensor_name(weight.name))
    results = {}
    for named, quantized in zip(simulated.layers, simulated.model.layers, strict=True):
        joined = editor.has(named.result) and editor.node(named.result).op in CONCATS
        results[named.name] = named.result if joined else str(quantized.last.op.name)
    return FloatGraph(editor.graph_def(simulated.outputs), results)
