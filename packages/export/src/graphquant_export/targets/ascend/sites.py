"""Where in a frozen graph the layers of a record stand."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import attrs
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, RecordError, UnsupportedLayerError
from graphquant_core.graph import GraphView, Step, affine_tail, plan_graph
from graphquant_core.graph.control_flow import carried_from
from graphquant_core.graph.frozen.while_loops import ops_in_loops
from graphquant_core.graph.rewire import (
    ACTIVATION_INPUT,
    ACTIVATION_OUTPUT,
    WEIGHT_OUTPUT,
    marked_input,
    role_of,
)
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_core.record import LayerFactors, Record, validate_record
from graphquant_export.targets.ascend.functions import ASCEND_TYPES

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class Site:
    """One layer of the record in the graph.

    Attributes:
        layer: Description of the layer.
        factors: Its entry in the record.
        op: Its op.
        activation: The float tensor that is to be quantised: what goes into the fake quantiser
            when there is one.
        split: What is split, without fake quantiser, when the activation is an output of a Split.
        weight: The tensor at the weight port, outside of a cond; ``None`` without weight.
        trained: Whether the weight comes out of a fake quantiser, hence lies on its grid.
        tail: Steps behind the op that fold into it.
    """

    layer: Layer
    factors: LayerFactors
    op: tf.Operation
    activation: tf.Tensor
    split: tf.Tensor | None
    weight: tf.Tensor | None
    trained: bool
    tail: tuple[Step, ...]


def find_sites(graph: tf.Graph, outputs: Sequence[str], record: Record) -> list[Site]:
    """The site of each layer of `record`, in the order of the graph.

    Raises:
        ModelFileError: The model was exported already.
        RecordError: The record doesn't fit the graph, or lacks a layer that was trained.
    """
    view = GraphView(graph)
    for op in view.operations:
        if op.type in ASCEND_TYPES:
            raise ModelFileError(
                f'the model was quantised before: it has "{op.name}" ({op.type}); give the frozen '
                "model from before the export"
            )
    plan = plan_graph(graph, view=view)
    _check_complete(graph, plan, record)
    record = _of_layers_that_are_left(graph, plan, record)
    validate_record(record, plan)
    _check_outside_loops(view, record)
    keep = frozenset(outputs)
    return [
        _site(view, layer, record[layer.name], keep)
        for layer in plan.layers
        if layer.name in record
    ]


def _site(view: GraphView, layer: Layer, factors: LayerFactors, keep: frozenset[str]) -> Site:
    op = view.graph.get_operation_by_name(layer.name)
    activation = _before_fake_quantizer(op.inputs[layer.activation_port])
    # A group convolution is quantised before its Split, once.
    splits = activation.op.type == "Split"
    split = _before_fake_quantizer(activation.op.inputs[1]) if splits else None
    if layer.weight_port is None:
        return Site(layer, factors, op, activation, split, None, False, ())
    weight = carried_from(op.inputs[layer.weight_port])
    channels = layer.output_channels or 0
    tail = affine_tail(view, op.outputs[0], layer.output_channel_axis, channels, keep)
    trained = role_of(op.inputs[layer.weight_port].op) == WEIGHT_OUTPUT
    return Site(layer, factors, op, activation, split, weight, trained, tail)


def _before_fake_quantizer(tensor: tf.Tensor) -> tf.Tensor:
    """What goes into the fake quantiser that `tensor` comes out of; else `tensor` itself."""
    if role_of(tensor.op) != ACTIVATION_OUTPUT:
        return tensor
    return marked_input(tensor, ACTIVATION_INPUT)


def _of_layers_that_are_left(graph: tf.Graph, plan: Plan, record: Record) -> Record:
    """`record` without the layers that freezing dropped, such as an auxiliary head's.

    Only a model that was trained for quantisation, all of whose layers are in the record, shows
    that the two belong together; for any other, an entry without a layer is an error.
    """
    names = {row.name for row in plan.rows}
    surplus = [name for name in record if name not in names]
    if not surplus or not any(_is_trained(graph, layer.name) for layer in plan.layers):
        return record
    logger.warning(
        "the record has layers that the outputs of the model don't need: %s", ", ".join(surplus)
    )
    kept = {name: factors for name, factors in record.items() if name in names}
    return attrs.evolve(record, factors=kept)


def _is_trained(graph: tf.Graph, name: str) -> bool:
    inputs = graph.get_operation_by_name(name).inputs
    return any(role_of(tensor.op) in (ACTIVATION_OUTPUT, WEIGHT_OUTPUT) for tensor in inputs)


def _check_complete(graph: tf.Graph, plan: Plan, record: Record) -> None:
    for layer in plan.layers:
        if layer.name in record:
            continue
        if _is_trained(graph, layer.name):
            raise RecordError(
                f'layer "{layer.name}" was trained for quantisation, but the record has no entry '
                "for it: write the record again with the model that was frozen"
            )


def _check_outside_loops(view: GraphView, record: Record) -> None:
    looped = ops_in_loops(view)
    for name in record:
        if name in looped:
            raise UnsupportedLayerError(
                f'layer "{name}" is inside a while loop, where it cannot be deployed: skip it '
                "in the config"
            )
