"""The layers that an artifact should hold, from what it was made of."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import tensorflow as tf

from graphquant_core.exporter import ExportSource
from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.layer import Layer, Skip
from graphquant_core.record import Record
from graphquant_export.quantized.simulate import simulation_of
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.op_names import op_with_bias
from graphquant_export.targets.mnn.quantized_layers import checked_params, quantized_layers


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

    Raises: as `simulate`, or `quantized_layers` where only weights are quantised.
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
    quantized = quantized_layers(view, checked_params(source.record))
    layers = {
        layer.name: PlannedLayer(
            layer.name,
            frozen.get_operation_by_name(layer.name),
            op_with_bias(view, layer),
        )
        for layer in quantized
    }
    return Planned(frozen, plan_for_mnn(frozen, view=view).rows, layers)
