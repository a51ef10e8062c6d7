"""The plan of a graph for quantisation-aware training."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.control_flow import outside_control_flow
from graphquant_core.layer import Aside, Layer, Skip
from graphquant_core.plan import Plan
from graphquant_qat.graph.keras_copies import uncalled_copies


def plan_training(view: GraphView) -> Plan:
    """`plan_graph`, without the layers whose factors can't be read or that nothing calls."""
    plan = plan_graph(view.graph, view=view)
    copies = uncalled_copies(view, plan)
    return Plan(tuple(_decide(view, row, copies) for row in plan.rows))


def _decide(view: GraphView, row: Layer | Skip, copies: Mapping[str, str]) -> Layer | Skip:
    if isinstance(row, Skip):
        return row
    if row.name in copies:
        reason = (
            "it is what Keras left when the model was built, which nothing uses: the model is "
            f'called elsewhere, as in "{copies[row.name]}"'
        )
        return Aside(row.name, row.op_type, reason)
    op: tf.Operation = view.graph.get_operation_by_name(row.name)
    if row.weight_port is not None and outside_control_flow(op.inputs[row.weight_port]) is None:
        reason = "its weight is computed inside a cond: compute it before the cond"
        return Skip(row.name, row.op_type, reason)
    return row
