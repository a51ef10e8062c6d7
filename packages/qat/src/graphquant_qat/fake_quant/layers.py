"""Which layers of a frozen graph have fake quantisers at both of their inputs."""

from __future__ import annotations

import logging

import attrs
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, NoLayersError
from graphquant_core.float_layers import float_reasons, warn_of_float_layers
from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.rewire import role_of
from graphquant_core.layer import Layer, Skip
from graphquant_qat.fake_quant.nodes import (
    MOVING_ACTIVATIONS,
    MOVING_WEIGHTS,
    PER_CHANNEL,
    fake_quant_behind,
    has_fixed_range,
)

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class FakeQuantizedLayer:
    """A layer between fake quantisers.

    Attributes:
        layer: Its description.
        op: Its op.
        activation: The fake quantiser whose values the layer takes.
        weight: The fake quantiser of its weight; ``None`` for a layer without weight.
    """

    layer: Layer
    op: tf.Operation
    activation: tf.Operation
    weight: tf.Operation | None


def find_layers(view: GraphView) -> list[FakeQuantizedLayer]:
    """The layers of the frozen graph that can be deployed; a warning tells of the others.

    Raises:
        NoLayersError: There is none; says why of the first few.
        ModelFileError: The fake quantisers are those of `create_quant_retrain_model`.
    """
    marked = next((op for op in view.operations if role_of(op) is not None), None)
    if marked is not None:
        raise ModelFileError(
            f'the model was quantised by create_quant_retrain_model ("{marked.name}"): give it '
            "and its record to save_quant_retrain_model"
        )
    plan = plan_graph(view.graph, view=view)
    found, floats = [], list(plan.skips)
    for layer in plan.layers:
        decided = _decide(view, layer)
        if isinstance(decided, str):
            floats.append(Skip(layer.name, layer.op_type, decided))
        else:
            found.append(decided)
    if not found:
        reasons = f": {float_reasons(floats)}" if floats else ""
        raise NoLayersError(f"no layer of the model has fake-quantised inputs{reasons}")
    warn_of_float_layers(logger, floats, len(plan.rows), listing='set_logging_level("info") before')
    return found


def _decide(view: GraphView, layer: Layer) -> FakeQuantizedLayer | str:
    op = view.graph.get_operation_by_name(layer.name)
    activation = fake_quant_behind(op.inputs[layer.activation_port], MOVING_ACTIVATIONS)
    if activation is None:
        return "its activation comes out of no fake quantiser"
    if activation.type == PER_CHANNEL:
        return f'its activation has one range per channel ("{activation.name}"), not one'
    if not has_fixed_range(view, activation):
        return f'the range of "{activation.name}" depends on the inputs of the graph'
    if layer.weight_port is None:
        return FakeQuantizedLayer(layer, op, activation, None)
    weight = fake_quant_behind(op.inputs[layer.weight_port], MOVING_WEIGHTS)
    if weight is None:
        return "its weight comes out of no fake quantiser"
    return FakeQuantizedLayer(layer, op, activation, weight)
