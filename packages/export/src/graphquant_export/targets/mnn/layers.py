"""Which ops of a graph MNN's converter quantises, and which it doesn't or converts wrongly."""

from __future__ import annotations

import attrs
import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.graph import GraphView
from graphquant_core.graph.control_flow import control_flow_context
from graphquant_core.handler import LayerHandler, text_attribute
from graphquant_core.layer import Layer, Skip
from graphquant_core.listing import choices
from graphquant_core.plan import Plan
from graphquant_core.registry import Registry
from graphquant_export.inputs.branches.undecided import refuse_conditions
from graphquant_export.quantized.weight_layers import weight_plan

QUANTIZED_TYPES = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul")


def plan_for_mnn(
    graph: tf.Graph, registry: Registry | None = None, view: GraphView | None = None
) -> Plan:
    """Every op of `graph` with a weight: a Layer that MNN quantises, or a Skip with its reason.

    Arguments and errors are those of `weight_plan`.
    """
    return weight_plan(graph, registry, view, _MnnHandler)


def check_convertible(graph: tf.Graph) -> None:
    """Refuses a graph that MNN's converter would make a wrong model of, without a word.

    Raises:
        UnsupportedLayerError: Names the layer, and what would be right; or the branch, which the
            converter doesn't take.
    """
    refuse_conditions(graph, "MNN's converter")
    for op in graph.get_operations():
        if op.type in QUANTIZED_TYPES and (wrong := converted_wrongly(op)):
            raise UnsupportedLayerError(f'layer "{op.name}" ({op.type}) has {wrong}')


def converted_wrongly(op: tf.Operation) -> str | None:
    """What of `op`, of one of the `QUANTIZED_TYPES`, MNN's converter takes for something else."""
    if op.type == "MatMul":
        wrong = "transpose_a (True): MNN's converter makes a wrong model of it"
        return wrong if op.get_attr("transpose_a") else None
    if text_attribute(op, "data_format") == "NCHW":
        return "data_format (NCHW): MNN's converter makes a wrong model of it; use NHWC"
    if text_attribute(op, "padding") == "EXPLICIT":
        return "padding (EXPLICIT): MNN's converter takes it for SAME; use tf.pad and padding VALID"
    return None


class _MnnHandler:
    """What `handler` says, as far as MNN's converter follows it."""

    def __init__(self, handler: LayerHandler) -> None:
        self.name = handler.name
        self.op_types = handler.op_types
        self._handler = handler

    def describe(self, op: tf.Operation) -> Layer | Skip:
        described = self._handler.describe(op)
        if isinstance(described, Skip) or described.weight_port is None:
            return described
        reason = _limit(op, described)
        return Skip(op.name, op.type, reason) if reason else attrs.evolve(described, advice=())


def _limit(op: tf.Operation, layer: Layer) -> str | None:
    """Why MNN doesn't quantise `op`, or converts it wrongly."""
    if op.type not in QUANTIZED_TYPES:
        return f"MNN quantises the weights of {choices(QUANTIZED_TYPES)} only"
    if control_flow_context(op) is not None:
        return "it is inside a while loop or a cond, which MNN's converter does not take"
    if wrong := converted_wrongly(op):
        return wrong
    if op.type == "MatMul":
        return None
    shape = layer.weight_shape or ()
    if op.type == "DepthwiseConv2dNative" and shape[3] != 1:
        return f"channel multiplier ({shape[3]}): MNN leaves depthwise weights float unless it is 1"
    if op.type == "DepthwiseConv2dNative" and shape[2] == 1:
        return "one input channel: MNN leaves the weight of such a depthwise convolution float"
    return None
