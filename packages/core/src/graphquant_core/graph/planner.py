"""Make the plan of a graph: describe every candidate op and find its weight."""

from __future__ import annotations

import logging

import attrs
import tensorflow as tf

from graphquant_core.exceptions import PluginError
from graphquant_core.graph.functions import skips_in_functions
from graphquant_core.graph.guards import gradient_ops
from graphquant_core.graph.rewire import TEACHER, role_of
from graphquant_core.graph.view import GraphView
from graphquant_core.graph.weight_source import find_weight_source
from graphquant_core.graph.while_loops import IN_LOOP, ops_in_loops
from graphquant_core.handler import LayerHandler
from graphquant_core.layer import Aside, Layer, Skip
from graphquant_core.plan import Plan
from graphquant_core.registry import Registry, load_registry

logger = logging.getLogger(__name__)


def plan_graph(
    graph: tf.Graph, registry: Registry | None = None, view: GraphView | None = None
) -> Plan:
    """Every op of `graph` whose type has a handler, as a Layer or as a Skip with its reason.

    Args:
        graph: The graph; nothing in it is changed.
        registry: Where handlers come from; the installed plugins by default.
        view: A view of `graph` made before, to save making one.

    Raises:
        PluginError: A handler raised, or its description doesn't fit the op.
    """
    handlers = (registry or load_registry()).handlers
    view = view or GraphView(graph)
    backward = gradient_ops(view)
    looped = ops_in_loops(view)
    rows: list[Layer | Skip] = []
    for op in view.of_types(handlers):
        if op in backward:
            rows.append(Aside(op.name, op.type, "it belongs to the gradients"))
        elif role_of(op) == TEACHER:
            rows.append(Aside(op.name, op.type, "it belongs to the float model that teaches"))
        elif op.name in looped:
            rows.append(Skip(op.name, op.type, f"it is inside a while loop, {IN_LOOP}"))
        else:
            rows.append(_decide(view, handlers[op.type], op))
    rows.extend(skips_in_functions(view, handlers.__contains__))
    for row in rows:
        if isinstance(row, Skip):
            logger.debug('layer "%s" (%s) stays float: %s', row.name, row.op_type, row.reason)
    return Plan(tuple(rows))


def _decide(view: GraphView, handler: LayerHandler, op: tf.Operation) -> Layer | Skip:
    described = _describe(handler, op)
    if isinstance(described, Skip):
        return described
    ports = [described.activation_port]
    if described.weight_port is not None:
        ports.append(described.weight_port)
    for port in ports:
        dtype = op.inputs[port].dtype.base_dtype
        if dtype != tf.float32:
            reason = (
                f'its input "{op.inputs[port].name}" is {dtype.name}; only float32 is quantised'
            )
            return Skip(op.name, op.type, reason)
    activation = op.inputs[described.activation_port]
    if not view.depends_on_data(activation):
        reason = f'its activation "{activation.name}" does not depend on the inputs of the graph'
        return Skip(op.name, op.type, reason)
    if described.weight_port is None:
        return described
    source = find_weight_source(view, op.inputs[described.weight_port])
    if isinstance(source, str):
        return Skip(op.name, op.type, source)
    return attrs.evolve(described, weight_source=source.name)


def _describe(handler: LayerHandler, op: tf.Operation) -> Layer | Skip:
    try:
        described = handler.describe(op)
    except Exception as error:
        raise PluginError(
            f'handler "{handler.name}" failed on layer "{op.name}" ({op.type}): {error!r}'
        ) from error
    problem = description_problem(op, described)
    if problem:
        raise PluginError(f'handler "{handler.name}" on layer "{op.name}" ({op.type}): {problem}')
    return described


def description_problem(op: tf.Operation, described: object) -> str | None:
    """What makes `described` no valid description of `op`; ``None`` when it is one."""
    if not isinstance(described, (Layer, Skip)):
        return f"describe returned {type(described).__name__}, not Layer or Skip"
    if (described.name, described.op_type) != (op.name, op.type):
        return f"describe returned another op's name ({described.name}, {described.op_type})"
    if isinstance(described, Skip):
        return None if described.reason.strip() else "a Skip needs a reason"
    ports = [described.activation_port]
    if described.weight_port is not None:
        ports.append(described.weight_port)
    if len(set(ports)) != len(ports) or not all(0 <= port < len(op.inputs) for port in ports):
        return f"ports {ports} must be different inputs of the op, 0 to {len(op.inputs) - 1}"
    return _axes_problem(op, described)


def _axes_problem(op: tf.Operation, layer: Layer) -> str | None:
    output, axis = op.outputs[0].shape, layer.output_channel_axis
    if output.rank is not None and not -output.rank <= axis < output.rank:
        return f"output_channel_axis ({axis}) must be an axis of the output {output}"
    if layer.weight_port is None:
        return None
    shape = layer.weight_shape
    if shape is None or not op.inputs[layer.weight_port].shape.is_compatible_with(shape):
        return f"weight_shape ({shape}) is not the shape of input {layer.weight_port}"
    axes = layer.weight_channel_axes
    if not axes or list(axes) != sorted(set(axes)) or not all(0 <= a < len(shape) for a in axes):
        return f"weight_channel_axes ({axes}) must be rising axes of the weight {shape}"
    along = layer.weight_input_axis
    if along is not None and not 0 <= along < len(shape):
        return f"weight_input_axis ({along}) must be an axis of the weight {shape}"
    channels = None if output.rank is None else output.as_list()[axis]
    if channels not in (None, layer.output_channels):
        return (
            f"output_channel_axis ({axis}) has {channels} channels in the output, but the weight "
            f"{shape} has {layer.output_channels} along weight_channel_axes {axes}"
        )
    return None
