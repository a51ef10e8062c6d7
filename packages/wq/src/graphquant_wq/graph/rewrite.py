"""Fake quantisation into a graph, once; a stripped graph takes its own up again."""

from __future__ import annotations

import logging

import tensorflow as tf

from graphquant_core.exceptions import ConfigError, NoLayersError
from graphquant_core.float_layers import float_reasons, warn_of_float_layers, without_asides
from graphquant_core.graph import GraphView, Rewrite
from graphquant_core.graph.guards import check_extensible, first_gradient_op
from graphquant_core.layer import Skip
from graphquant_core.plan import Plan
from graphquant_core.registry import load_registry
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_wq.graph.insert import insert_fake_weights
from graphquant_wq.graph.records import GraphRecord, QuantizedWeight, keep_record, record_of
from graphquant_wq.settings import Settings

logger = logging.getLogger(__name__)


def quantize_graph(graph: tf.Graph, settings: Settings) -> GraphRecord:
    """Fake-quantise the weights of `graph` as `settings` say; all of them or none.

    A graph whose gradients go through the fake quantisation of an earlier call takes that up
    again, and so does one that was not stripped: then `settings` must be the same.

    Raises:
        NoLayersError: The graph has no layer that MNN quantises.
        UnknownNameError: A pattern names no layer, or the strategy isn't registered.
        ConfigError: The graph was quantised with other settings.
        GraphStateError: The graph has gradients, is finalised, or a session on it is open.
    """
    view = GraphView(graph)
    old = record_of(graph)
    if old is not None and (not old.stripped or first_gradient_op(view) is not None):
        return _taken_up(graph, old, settings)
    with Rewrite(graph, view) as rewrite:
        if old is not None:
            _unstrip(rewrite, old, quantized=False)
        plan = plan_for_mnn(graph, view=view)
        if not plan.layers:
            raise NoLayersError(f"graph has no layer that MNN quantises{_reasons(plan)}")
        settings.check_names(plan)
        inserted = insert_fake_weights(rewrite, plan, settings, load_registry())
        found = inserted.weights
        weights = {name: row for name, row in found.items() if isinstance(row, QuantizedWeight)}
        skips = {name: row for name, row in found.items() if isinstance(row, Skip)}
        skips |= {
            layer.name: Skip(layer.name, layer.op_type, "skip_layers names it")
            for layer in plan.layers
            if layer.name not in found
        }
        plan = Plan(tuple(skips.get(row.name, row) for row in plan.rows))
        if not weights:
            raise NoLayersError(f"graph has no layer left to quantise{_reasons(plan)}")
        record = GraphRecord(settings, plan, weights, inserted.flags)
    keep_record(graph, record)
    logger.info("the weights of %d layers of the graph are fake-quantised", len(weights))
    rows = without_asides(plan.rows)
    floats = [row for row in rows if isinstance(row, Skip)]
    warn_of_float_layers(logger, floats, len(rows), listing="the quantiser's plan")
    return record


def _unstrip(rewrite: Rewrite, record: GraphRecord, quantized: bool) -> None:
    """Lets each layer take its weight on the grid, or as it was before; norms are as before."""
    graph = rewrite.graph
    for weight in record.weights.values():
        op = graph.get_operation_by_name(weight.layer.name)
        assert weight.layer.weight_port is not None
        name = weight.output if quantized else weight.weight
        rewrite.redirect(op, weight.layer.weight_port, graph.get_tensor_by_name(name))
    for norm, inputs in record.norms.items():
        for port, name in enumerate(inputs, start=1):
            op = graph.get_operation_by_name(norm)
            rewrite.redirect(op, port, graph.get_tensor_by_name(name))


def _taken_up(graph: tf.Graph, record: GraphRecord, settings: Settings) -> GraphRecord:
    if record.settings != settings:
        raise ConfigError(
            f"graph was quantised with other settings ({record.settings}) than these ({settings}), "
            "and its gradients belong to them: build a new graph"
        )
    if record.stripped:
        with Rewrite(graph, check=check_extensible) as rewrite:
            _unstrip(rewrite, record, quantized=True)
        record.stripped = False
    return record


def _reasons(plan: Plan) -> str:
    nothing = ", nor any op of a supported type"
    return f": {float_reasons(plan.skips)}" if plan.skips else nothing
