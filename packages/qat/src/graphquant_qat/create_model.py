"""The second call: the graph, rewritten in place for quantisation-aware training."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import attrs
import tensorflow as tf

from graphquant_core.exceptions import GraphStateError
from graphquant_core.files import check_writable, write_whole
from graphquant_core.float_layers import warn_of_float_layers, without_asides
from graphquant_core.graph import GraphView, Rewrite
from graphquant_core.graph.collection import paused_collection
from graphquant_core.graph.replica import current_replica, in_replica, shared_name
from graphquant_core.layer import Layer, Skip
from graphquant_core.listing import listed
from graphquant_core.plan import Plan
from graphquant_core.registry import load_registry
from graphquant_export.quantized.named_rules import target_names
from graphquant_qat.arguments import check_graph, exists
from graphquant_qat.config.defaults import check_has_layers
from graphquant_qat.config.json_form import read_config
from graphquant_qat.graph.insert import Quantized, QuantizedLayer, insert_quantizers
from graphquant_qat.graph.record_writer import write_record_op
from graphquant_qat.graph.retrain_op import RetrainOp
from graphquant_qat.graph.rounded_values import configurable_values, rules_of
from graphquant_qat.graph.trainable_plan import plan_training

logger = logging.getLogger(__name__)

_quantized: WeakKeyDictionary[tf.Graph, tuple[tuple[str, ...], Quantized]] = WeakKeyDictionary()


@paused_collection()
def create_quant_retrain_model(
    graph: tf.Graph,
    config_file: str,
    record_file: str,
    *,
    target: str | Sequence[str] = "ascend",
) -> list[tf.Variable | RetrainOp]:
    """Fake-quantise the layers of `graph` that `config_file` enables, in place.

    Call it on the training graph before the optimizer is made, and with the same files on the
    inference graph. Calling it again on a graph leaves the layers that are quantised as they are.

    Args:
        graph: The graph; no session on it may be open.
        config_file: What `create_quant_retrain_config` wrote.
        record_file: Where the scales and offsets go; the file is emptied now, and written when a
            session runs the last element of the result.
        target: What the graph is trained for: the name of an export target, or several. What it
            rounds besides the inputs of layers, such as the results of additions, gets trained
            ranges like any activation; the record holds them, so that an export needs no
            calibration. ``"ascend"`` rounds nothing else.

    Returns:
        The variables that were added, and last a `RetrainOp`, which writes the record.

    Raises:
        ConfigError, UnknownNameError, NoLayersError: `config_file` doesn't fit the graph or the
            target, or `target` is none.
        GraphStateError: The graph has gradients, is finalised, or a session on it is open; or it
            was rewritten for another target.
        FileWriteError: `record_file` can't be written.
        After any of them the graph is as before.
    """
    check_graph(graph)
    check_writable(record_file, "record_file")
    view = GraphView(graph)
    plan = plan_training(view)
    check_has_layers(plan)
    names = target_names(target)
    rules = rules_of(names, load_registry())
    done = _done(graph, names)
    values = [Layer(name, "value", 0) for name in done.values] or configurable_values(
        view, plan, rules
    )
    config = read_config(config_file, _plan_of_replica(plan), values)
    with Rewrite(graph, view) as rewrite:
        before = len(graph.get_collection_ref(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES))
        quantized = insert_quantizers(rewrite, plan, config, done, rules)
        rewrite.update_view()
        record = write_record_op(quantized, os.path.abspath(record_file), rewrite.view)
        if exists(record_file) and os.path.getsize(record_file):
            logger.warning('record_file ("%s") exists and is overwritten', record_file)
        write_whole(record_file, "")
    replica = current_replica()
    rows = [row for row in without_asides(plan.rows) if in_replica(row.name, replica)]
    floats = [_as_float(row) for row in rows if row.name not in quantized.layers]
    told = frozenset(shared_name(skip.name) for skip in floats)
    _quantized[graph] = (names, attrs.evolve(done.with_more(quantized), told=done.told | told))
    added = graph.get_collection_ref(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES)[before:]
    logger.info("%d layers of the graph are fake-quantised", len(quantized.layers))
    if told - done.told:
        warn_of_float_layers(logger, floats, len(rows), listing='set_logging_level("info") before')
    return [*added, RetrainOp(record)]


def quantized_layers(graph: tf.Graph) -> Mapping[str, QuantizedLayer]:
    """The layers of `graph` that `create_quant_retrain_model` fake-quantised, by name."""
    _, quantized = _quantized.get(graph, ((), Quantized()))
    return quantized.layers


def _done(graph: tf.Graph, targets: tuple[str, ...]) -> Quantized:
    """What was quantised in `graph` before, for the same targets.

    Raises:
        GraphStateError: It was for others.
    """
    before, done = _quantized.get(graph, (targets, Quantized()))
    if set(before) != set(targets):
        raise GraphStateError(
            f"target ({listed(targets)}): the graph was rewritten for {listed(before)} "
            "already; build it anew"
        )
    return done


def _as_float(row: Layer | Skip) -> Skip:
    if isinstance(row, Skip):
        return row
    return Skip(row.name, row.op_type, "the configuration switches it off")


def _plan_of_replica(plan: Plan) -> Plan:
    """The rows of the replica that is being built, under the names that a configuration has."""
    replica = current_replica()
    rows = (row for row in plan.rows if in_replica(row.name, replica))
    return Plan(tuple(attrs.evolve(row, name=shared_name(row.name)) for row in rows))
