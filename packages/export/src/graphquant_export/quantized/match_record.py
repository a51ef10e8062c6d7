"""Which entries of a record a frozen graph has layers for."""

from __future__ import annotations

import logging

import attrs
import tensorflow as tf

from graphquant_core.exceptions import EmptyRecordError, RecordError, UnsupportedLayerError
from graphquant_core.graph import GraphView
from graphquant_core.graph.rewire import ACTIVATION_OUTPUT, WEIGHT_OUTPUT, role_of
from graphquant_core.graph.while_loops import ops_in_loops
from graphquant_core.listing import listed_names
from graphquant_core.plan import Plan
from graphquant_core.record import Record, validate_record

logger = logging.getLogger(__name__)


def checked_record(record: object) -> Record:
    """`record`, which is one and has a layer.

    Raises:
        RecordError: It is no Record.
        EmptyRecordError: It holds no layer.
    """
    if not isinstance(record, Record):
        raise RecordError(
            f"record ({type(record).__name__}) must be a Record, as read_record() returns it: this "
            "target has int8 models only, none with quantised weights alone"
        )
    if not record:
        raise EmptyRecordError("record () holds no layer: nothing would be quantised")
    return record


def match_record(view: GraphView, plan: Plan, record: Record) -> Record:
    """`record` without the layers that freezing dropped, such as an auxiliary head's.

    Only a model that was trained for quantisation, all of whose layers are in the record, shows
    that the two belong together; for any other, an entry without a layer is an error.

    Raises:
        RecordError: The record doesn't fit the graph, or lacks a layer that was trained.
        UnsupportedLayerError: A layer of the record is inside a while loop.
    """
    _check_complete(view.graph, plan, record)
    record = _of_layers_that_are_left(view.graph, plan, record)
    _check_outside_loops(view, record)
    validate_record(record, plan)
    return record


def _of_layers_that_are_left(graph: tf.Graph, plan: Plan, record: Record) -> Record:
    names = {row.name for row in plan.rows}
    surplus = [name for name in record if name not in names]
    if not surplus or not any(_is_trained(graph, layer.name) for layer in plan.layers):
        return record
    logger.warning(
        "the record has layers that the outputs of the model don't need: %s", listed_names(surplus)
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
