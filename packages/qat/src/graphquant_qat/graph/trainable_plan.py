"""The plan of a graph for quantisation-aware training."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.control_flow import in_while_loop, outside_control_flow
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan


def plan_training(view: GraphView) -> Plan:
    """`plan_graph`, without the layers whose factors can't be read outside of control flow."""
    rows = plan_graph(view.graph, view=view).rows
    return Plan(tuple(_decide(view, row) for row in rows))


def _decide(view: GraphView, row: Layer | Skip) -> Layer | Skip:
    if isinstance(row, Skip):
        return row
    op: tf.Operation = view.graph.get_operation_by_name(row.name)
    if in_while_loop(op):
        reason = "it is in a while loop, of which the deployed graph has no form: unroll the loop"
        return Skip(row.name, row.op_type, reason)
    if row.weight_port is not None and outside_control_flow(op.inputs[row.weight_port]) is None:
        reason = "its weight is computed inside a cond: compute it before the cond"
        return Skip(row.name, row.op_type, reason)
    return row
