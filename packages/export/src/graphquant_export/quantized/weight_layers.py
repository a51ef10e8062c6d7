"""The layers of a graph whose weights alone a record quantises. It imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import attrs
import tensorflow as tf

from graphquant_core.exceptions import RecordError, UnsupportedLayerError
from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.handler import LayerHandler, full_shape
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_core.registry import Registry, load_registry
from graphquant_core.suggestions import closest
from graphquant_core.weight_record import WeightGrid, WeightRecord


def weight_plan(
    graph: tf.Graph,
    registry: Registry | None = None,
    view: GraphView | None = None,
    limited: Callable[[LayerHandler], LayerHandler] = lambda handler: handler,
) -> Plan:
    """Every op of `graph` with a weight: a Layer that can be quantised, or a Skip with its reason.

    Args:
        graph: The graph; nothing in it is changed.
        registry: Where handlers come from; the installed plugins by default.
        view: A view of `graph` made before, to save making one.
        limited: From a handler to one that skips what a target can't do.

    Raises:
        PluginError: A handler raised, or its description doesn't fit the op.
    """
    known = registry or load_registry()
    # A MatMul's weight may be transposed here, which int8 layers of a record can't be.
    described = {**known.handlers, "MatMul": _MatMulHandler()}
    handlers = MappingProxyType({name: limited(found) for name, found in described.items()})
    plan = plan_graph(graph, attrs.evolve(known, handlers=handlers), view)
    return Plan(tuple(row for row in plan.rows if isinstance(row, Skip) or row.weight_source))


def checked_weights(record: object) -> WeightRecord:
    """`record`, of a weight-only model.

    Raises:
        RecordError: It is something else, or holds nothing.
    """
    if not isinstance(record, WeightRecord):
        raise RecordError(
            f"record ({type(record).__name__}) must be a Record, as read_record() returns it, for "
            "an int8 model, or a WeightRecord, as WeightQuantizer.weight_record() returns it, for "
            "quantised weights"
        )
    if not record:
        raise RecordError("record () holds no layer: give WeightQuantizer.weight_record()")
    return record


def weight_layers(view: GraphView, record: WeightRecord) -> dict[Layer, WeightGrid]:
    """Each layer of `record` with its grid, in the order of the graph.

    Raises:
        UnsupportedLayerError: The record names no layer of the graph.
    """
    layers = weight_plan(view.graph, view=view).layers
    known = {layer.name for layer in layers}
    for name in record:
        if name not in known:
            raise UnsupportedLayerError(
                f'layer "{name}" of record is not in the model{closest(name, known)}'
            )
    return {layer: record[layer.name] for layer in layers if layer.name in record}


class _MatMulHandler:
    """MatMul with its weight on the right, transposed or not."""

    name = "MatMul"
    op_types = frozenset({"MatMul"})

    def describe(self, op: tf.Operation) -> Layer | Skip:
        shape = full_shape(op.inputs[1])
        if shape is None:
            return Skip(op.name, op.type, "the shape of its second input is not static")
        transposed = op.get_attr("transpose_b")
        return Layer(
            op.name,
            op.type,
            activation_port=0,
            weight_port=1,
            weight_shape=shape,
            weight_channel_axes=(0,) if transposed else (1,),
            output_channel_axis=1,
            input_channels=shape[1 if transposed else 0],
        )
