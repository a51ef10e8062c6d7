"""The model without quantisation: what goes into each fake quantiser goes on as it is."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor, tensor_name
from graphquant_core.graph.rewire import WEIGHT_INPUT, marked_input
from graphquant_export.targets.ascend import DeployedGraph
from graphquant_export.targets.ascend.layer_integers import LayerIntegers
from graphquant_export.targets.ascend.sites import Site

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


def float_graph(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], deployed: DeployedGraph
) -> FloatGraph:
    """`model` without the fake quantisers of its deployed layers.

    Args:
        model: The frozen graph that was deployed.
        outputs: Names of the ops that are its outputs.
        deployed: What it became.
    """
    editor = GraphDefEditor(model)
    for site in deployed.sites:
        name, layer = site.op.name, site.layer
        editor.set_input(name, layer.activation_port, tensor_name(site.activation.name))
        if site.split is not None:
            editor.set_input(site.activation.op.name, 1, tensor_name(site.split.name))
        if site.trained and layer.weight_port is not None:
            weight = marked_input(site.op.inputs[layer.weight_port], WEIGHT_INPUT)
            editor.set_input(name, layer.weight_port, tensor_name(weight.name))
    results = {}
    for named, site, numbers in zip(
        deployed.layers, deployed.sites, deployed.integers, strict=True
    ):
        joined = editor.has(named.result) and editor.node(named.result).op in CONCATS
        results[named.name] = named.result if joined else _last(site, numbers)
    return FloatGraph(editor.graph_def(outputs), results)


def _last(site: Site, numbers: LayerIntegers) -> str:
    tensor = numbers.steps[-1].output if numbers.steps else site.op.outputs[0]
    return str(tensor.op.name)
