"""Quantisation-aware training with one rate for all groups of weights: in steps of their grids."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.exceptions import GraphStateError
from graphquant_core.graph import GraphView
from graphquant_core.graph.guards import check_extensible
from graphquant_core.graph.rewire import WEIGHT_INPUT, marked_input
from graphquant_core.graph.step_units import StepUnits, check_step_units
from graphquant_core.graph.weight_source import plain_variable
from graphquant_core.grid import INT8_NARROW
from graphquant_core.layer import Layer
from graphquant_core.quantize import FLOAT32_EPSILON
from graphquant_qat.arguments import check_graph
from graphquant_qat.create_model import quantized_layers

v1 = tf.compat.v1


def in_step_units(
    optimizer: tf.compat.v1.train.Optimizer, graph: tf.Graph | None = None, *, ratio: float = 60.0
) -> tf.compat.v1.train.Optimizer:
    """`optimizer`, for which a quantised weight counts in steps of its grid.

    Where the optimizer moves another variable by 1, it moves a weight by `ratio` steps of the grid
    that its channel is on at that moment: with Adam at a rate of 0.001 by at most 0.06 steps. Call
    it after `create_quant_retrain_model`, and use the result in place of `optimizer`. It adds no
    variable but those that `optimizer` keeps of each weight, so that checkpoints hold what they
    held, training goes on from them exactly, and the record is written as before.

    Args:
        optimizer: The optimizer; its rate is that of biases, batch norms and activation ranges.
        graph: The training graph; the default one when ``None``.
        ratio: Steps of a grid that count as 1.

    Raises:
        ConfigError: `optimizer` is no ``tf.compat.v1.train.Optimizer``, `ratio` isn't a positive
            number, or `graph` no graph.
        GraphStateError: `create_quant_retrain_model` was not called for `graph`, which may also be
            finalised; or a tf.distribute strategy is in force.
    """
    check_step_units(optimizer, ratio)
    graph = check_graph(v1.get_default_graph() if graph is None else graph)
    view = GraphView(graph)
    check_extensible(view)
    layers = quantized_layers(graph)
    if not layers:
        raise GraphStateError(
            "create_quant_retrain_model was not called for the graph: call in_step_units after it"
        )
    units: dict[str, tf.Tensor] = {}
    for quantized in layers.values():
        if quantized.weight is None:
            continue
        output = graph.get_tensor_by_name(quantized.weight.output)
        weight = marked_input(output, WEIGHT_INPUT)
        variable = plain_variable(view, weight)
        if variable is not None and variable.name not in units:
            with graph.as_default(), v1.name_scope(f"{variable.name}/step_units/"):
                scale = graph.get_tensor_by_name(quantized.weight.scale)
                unit = _unit(weight, scale, quantized.layer, ratio)
                shape = [size.size for size in variable.get_attr("shape").dim]
                units[variable.name] = tf.reshape(unit, shape)
    return StepUnits(optimizer, units)


def _unit(weight: tf.Tensor, scale: tf.Tensor, layer: Layer, ratio: float) -> tf.Tensor:
    """ratio * scale of each element's channel, in the shape of `weight`; 1 in a dead channel.

    A channel that has no grid yet is trained as by the optimizer alone.
    """
    axes = layer.weight_channel_axes if scale.shape.rank else ()
    shape = layer.weight_shape or ()
    others = [axis for axis in range(len(shape)) if axis not in axes]
    largest = tf.reduce_max(tf.abs(weight), others, keepdims=True)
    dead = largest < INT8_NARROW.maximum * FLOAT32_EPSILON
    steps = tf.reshape(scale, per_channel_shape(shape, axes))
    return tf.broadcast_to(tf.where(dead, 1.0, ratio * steps), shape)
