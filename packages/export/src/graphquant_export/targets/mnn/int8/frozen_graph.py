"""The graph that MNN's converter is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen, tensor_name
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_export.targets.mnn.int8.activation_grid import ActivationGrid
from graphquant_export.targets.mnn.int8.depthwise_biases import store_biases
from graphquant_export.targets.mnn.int8.equal_ops import merged_edges, with_one_of_each
from graphquant_export.targets.mnn.int8.float_quantizer import put_on_grid
from graphquant_export.targets.mnn.int8.float_values import (
    Edge,
    QuantizedValues,
    edges_to_part,
    with_distinct_grids,
)
from graphquant_export.targets.mnn.int8.moved_values import is_never_negative
from graphquant_export.targets.mnn.int8.planned_layers import INT8, PlannedLayer
from graphquant_export.targets.mnn.known_ops import with_known_ops
from graphquant_export.targets.mnn.misnamed_tensors import AS_FLOAT


@attrs.frozen(eq=False)
class FrozenGraph:
    """What MNN's converter is given.

    Attributes:
        graph_def: The simulation without its fake quantisers, with float ops where grids must be
            kept apart, and with biases of depthwise layers as MNN's kernel takes them.
        layers: The layers, their grids final.
    """

    graph_def: tf.compat.v1.GraphDef
    layers: tuple[PlannedLayer, ...]


def freeze_for_mnn(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], planned: Sequence[PlannedLayer]
) -> FrozenGraph:
    """The graph that MNN's converter makes the int8 model of.

    Args:
        graph_def: The simulation of the layers with its channels last.
        outputs: Names of its outputs.
        planned: What each layer becomes.
    """
    editor = GraphDefEditor(graph_def)
    integer = [layer for layer in planned if layer.execution == INT8]
    grids = {layer.result: layer.output for layer in integer if layer.output is not None}
    edges = _without_fake_quantizers(editor, planned, grids)
    lowered = with_one_of_each(with_known_ops(editor.graph_def(outputs), outputs), outputs)
    editor, graph = GraphDefEditor(lowered), import_frozen(lowered)
    view = GraphView(graph)
    values = QuantizedValues(
        grids,
        edges,
        {layer.simulated.node: layer.layer for layer in integer if layer.layer is not None},
        outputs,
    )
    parted = edges_to_part(view, values, merged_edges(view, integer))
    _Parting(editor, graph, values).part(parted)
    results = with_distinct_grids(view, values)
    layers = tuple(_with_grids(graph, layer, results, edges, parted) for layer in planned)
    graph_def = editor.graph_def(outputs)
    store_biases(graph_def, layers)
    return FrozenGraph(graph_def, layers)


def _without_fake_quantizers(
    editor: GraphDefEditor,
    planned: Sequence[PlannedLayer],
    results: Mapping[str, ActivationGrid],
) -> dict[Edge, ActivationGrid]:
    """Takes the fake quantisers out; the edges behind them that lead to int8 layers.

    What else takes one gets the same values from float ops, unless an int8 layer's result is on
    that grid already.
    """
    edges: dict[Edge, ActivationGrid] = {}
    quantizers = {layer.simulated.quantizer: layer.simulated for layer in planned}
    for quantizer, layer in quantizers.items():
        grids = {
            layer.simulated.node: layer.input
            for layer in planned
            if layer.simulated.quantizer == quantizer and layer.input is not None
        }
        grid = ActivationGrid(layer.scale_d, layer.offset_d)
        source = tensor_name(editor.node(quantizer).input[0])
        on_grid = source if results.get(source) == grid else None
        for taker, port in editor.consumers(quantizer):
            reached = [taker, *_all_takers(editor, taker)]
            if any(name in grids for name in reached):
                edges[taker, port] = grid
                editor.set_input(taker, port, source)
                continue
            if on_grid is None:
                on_grid = put_on_grid(editor, quantizer, source, grid)
            editor.set_input(taker, port, on_grid)
        editor.move_control_edges(quantizer, source.partition(":")[0])
    return edges


def _all_takers(editor: GraphDefEditor, name: str) -> list[str]:
    """Who takes a result of the Pad or Split called `name`; nobody for another op."""
    node = editor.node(name)
    if node.op not in ("Pad", "Split"):
        return []
    # A protobuf map gets what is looked up in it.
    ports = range(node.attr["num_split"].i if node.op == "Split" else 1)
    return [taker for port in ports for taker, _ in editor.consumers(f"{name}:{port}")]


def _with_grids(
    graph: tf.Graph,
    layer: PlannedLayer,
    results: Mapping[str, ActivationGrid],
    edges: Mapping[Edge, ActivationGrid],
    parted: Sequence[Edge],
) -> PlannedLayer:
    """`layer` with the grids that its tensors have, which the layer before it may say."""
    if layer.output is None or layer.layer is None:
        return layer
    edge = (layer.simulated.node, layer.layer.activation_port)
    source = graph.get_operation_by_name(edge[0]).inputs[edge[1]].op.name
    shared = edge in edges and edge not in parted and source in results
    return attrs.evolve(
        layer,
        input=results[source] if shared else layer.input,
        output=results[layer.result],
    )


class _Parting:
    """Puts float ops on edges: Abs where nothing is negative, else twice Neg.

    Between two grids it is twice Neg, which has no grid in the middle, so that it stays float. The
    converter makes one of equal ops that take the same, and with that one of two grids: what takes
    a tensor on another grid gets a Maximum with a lower bound of its own in front.
    """

    def __init__(self, editor: GraphDefEditor, graph: tf.Graph, values: QuantizedValues) -> None:
        self._editor = editor
        self._graph = graph
        self._values = values
        self._parted: dict[str, dict[ActivationGrid | None, str]] = {}

    def part(self, edges: Sequence[Edge]) -> None:
        """Puts one on each of `edges`; those of one tensor and grid share it."""
        for edge in edges:
            tensor = self._graph.get_operation_by_name(edge[0]).inputs[edge[1]]
            grid = self._values.inputs.get(edge)
            copies = self._parted.setdefault(tensor_name(tensor.name), {})
            if grid not in copies:
                between_grids = grid is not None and tensor.op.name in self._values.results
                one = is_never_negative(tensor) and not between_grids
                source = self._told_apart(tensor, len(copies))
                copies[grid] = self._float_copy(tensor, source, ["Abs"] if one else ["Neg", "Neg"])
            self._editor.set_input(*edge, copies[grid])

    def _told_apart(self, tensor: tf.Tensor, number: int) -> str:
        """`tensor`, from the second copy on in an op that no other copy has."""
        source = tensor_name(tensor.name)
        if number == 0:
            return source
        # Halves of the lowest float32: nothing that lies on a grid is below.
        lowest = np.ldexp(np.finfo(np.float32).min, -number).astype(np.float32)
        bound = self._editor.unique_name(f"{tensor.op.name}/lower_bound")
        self._editor.add(const_node(bound, lowest))
        name = self._editor.unique_name(f"{tensor.op.name}/{AS_FLOAT}")
        return self._editor.add(node_def(name, "Maximum", [source, bound], T=tf.float32))

    def _float_copy(self, tensor: tf.Tensor, source: str, types: Sequence[str]) -> str:
        for op_type in types:
            name = self._editor.unique_name(f"{tensor.op.name}/{AS_FLOAT}")
            source = self._editor.add(node_def(name, op_type, [source], T=tf.float32))
        return source
