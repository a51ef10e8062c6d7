"""The layers that an artifact should hold, from what it was made of."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import tensorflow as tf

from graphquant_core.exporter import ExportSource
from graphquant_core.graph import GraphView, PassThrough, Shift, affine_tail, plan_graph
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.layer import Layer, Skip
from graphquant_core.record import Record
from graphquant_export.quantized.simulate import simulation_of
from graphquant_export.quantized.weight_layers import (
    checked_weights,
    weight_layers,
    weight_plan,
)


@attrs.frozen(eq=False)
class PlannedLayer:
    """A quantised layer.

    Attributes:
        name: Its name.
        op: The op that sums, in the graph that was converted.
        result: The op of that graph with its result, bias included.
    """

    name: str
    op: tf.Operation
    result: tf.Operation

    @property
    def channels_last(self) -> bool:
        """Whether its op has a data format in which the channels are last."""
        if "data_format" not in self.op.node_def.attr:
            return False
        return bool(self.op.get_attr("data_format").endswith(b"C"))

    @property
    def grouped(self) -> bool:
        """Whether it shares its result, a concatenation, with the others of its group."""
        return self.result.type in ("Concat", "ConcatV2")


@attrs.frozen(eq=False)
class Planned:
    """What an artifact should hold.

    Attributes:
        graph: The frozen graph.
        rows: Every layer of its plan, quantised or not.
        layers: The quantised ones, by name.
    """

    graph: tf.Graph
    rows: tuple[Layer | Skip, ...]
    layers: Mapping[str, PlannedLayer]


def planned(source: ExportSource) -> Planned:
    """The layers that an artifact made of `source` should hold.

    Raises: as `simulate`, or `weight_layers` where only weights are quantised.
    """
    frozen = import_frozen(GraphDefEditor(source.model).graph_def(source.outputs))
    if isinstance(source.record, Record):
        simulated = simulation_of(source)
        graph = import_frozen(simulated.graph_def)
        layers = {
            layer.name: PlannedLayer(
                layer.name,
                graph.get_operation_by_name(layer.node),
                graph.get_operation_by_name(layer.result),
            )
            for layer in simulated.layers
        }
        return Planned(frozen, plan_graph(frozen).rows, layers)
    view = GraphView(frozen)
    quantized = weight_layers(view, checked_weights(source.record))
    layers = {
        layer.name: PlannedLayer(
            layer.name,
            frozen.get_operation_by_name(layer.name),
            _op_with_bias(view, layer),
        )
        for layer in quantized
    }
    return Planned(frozen, weight_plan(frozen, view=view).rows, layers)


def _op_with_bias(view: GraphView, layer: Layer) -> tf.Operation:
    """The op that adds the bias of `layer`; else its own op."""
    op, channels = view.graph.get_operation_by_name(layer.name), layer.output_channels or 0
    for step in affine_tail(view, op.outputs[0], layer.output_channel_axis, channels):
        if isinstance(step, Shift) and step.value.shape.num_elements() == channels:
            return step.output.op
        if not isinstance(step, PassThrough):
            break
    return op
