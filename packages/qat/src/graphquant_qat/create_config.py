"""The first call: which layers are quantised, and how, in a file that can be edited."""

from __future__ import annotations

import logging

import tensorflow as tf

from graphquant_core.files import check_writable, write_whole
from graphquant_core.graph import GraphView
from graphquant_qat.arguments import check_graph, exists
from graphquant_qat.config.defaults import check_has_layers, default_config
from graphquant_qat.config.json_form import format_config
from graphquant_qat.config.text_form import read_definition
from graphquant_qat.graph.softmax import layers_before_softmax
from graphquant_qat.graph.trainable_plan import plan_training

logger = logging.getLogger(__name__)


def create_quant_retrain_config(
    config_file: str, graph: tf.Graph, config_defination: str | None = None
) -> None:
    """Write the quantisation configuration of `graph` to `config_file` as JSON.

    Args:
        config_file: File to write; one that exists is overwritten, with a warning.
        graph: The training graph. It isn't changed.
        config_defination: File of the short text form (AMCTRetrainConfig) that says what differs
            from the default; without it every layer that can be quantised is.

    Raises:
        ConfigError: `graph` isn't a graph, or the text form holds something that isn't allowed.
        NoLayersError: The graph has no layer that can be quantised.
        FileWriteError: `config_file` can't be written.
    """
    check_graph(graph)
    check_writable(config_file, "config_file")
    view = GraphView(graph)
    plan = plan_training(view)
    check_has_layers(plan)
    softmax_layers = layers_before_softmax(view, plan)
    if config_defination is None:
        config = default_config(plan, softmax_layers)
    else:
        config = read_definition(config_defination, plan, softmax_layers)
    if exists(config_file):
        logger.warning('config_file ("%s") exists and is overwritten', config_file)
    write_whole(config_file, format_config(config))
    for skip in plan.skips:
        logger.info('layer "%s" (%s) stays float: %s', skip.name, skip.op_type, skip.reason)
    logger.info('the configuration of %d layers is saved in "%s"', len(plan.layers), config_file)
