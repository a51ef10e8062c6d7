"""The graph room: views, plans and in-place rewriting of a tf.Graph. It imports TensorFlow."""

from __future__ import annotations

from graphquant_core.graph.affine import (
    BatchNorm,
    PassThrough,
    Scale,
    Shift,
    Step,
    affine_tail,
    following_activation,
)
from graphquant_core.graph.guards import check_rewritable
from graphquant_core.graph.planner import plan_graph
from graphquant_core.graph.rewire import Rewrite
from graphquant_core.graph.view import GraphView
from graphquant_core.graph.weight_source import WeightSource, find_weight_source

__all__ = [
    "BatchNorm",
    "GraphView",
    "PassThrough",
    "Rewrite",
    "Scale",
    "Shift",
    "Step",
    "WeightSource",
    "affine_tail",
    "check_rewritable",
    "find_weight_source",
    "following_activation",
    "plan_graph",
]
