"""Either form of a configuration, read for a graph."""

from __future__ import annotations

import os

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.plan import Plan
from graphquant_qat.arguments import check_graph
from graphquant_qat.config.json_form import parse_config
from graphquant_qat.config.model import RetrainConfig
from graphquant_qat.config.read_text import read_text
from graphquant_qat.config.text_form import parse_definition
from graphquant_qat.graph.softmax import layers_before_softmax
from graphquant_qat.graph.trainable_plan import plan_training


def read_any_config(path: str | os.PathLike[str], graph: tf.Graph) -> tuple[RetrainConfig, Plan]:
    """The configuration at `path`, and the plan of `graph` that it was checked against.

    Args:
        path: JSON as `create_quant_retrain_config` writes it, or the short text form.
        graph: The graph; it isn't changed.

    Raises:
        ModelFileError: The file can't be read.
        ConfigError, UnknownNameError, NoLayersError: It doesn't fit the graph, or holds something
            that isn't allowed.
    """
    view = GraphView(check_graph(graph))
    plan = plan_training(view)
    text, file = read_text(path, "config")
    if text.lstrip().startswith("{"):
        return parse_config(text, plan, file), plan
    return parse_definition(text, plan, layers_before_softmax(view, plan), file), plan
