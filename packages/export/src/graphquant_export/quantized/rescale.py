"""A graph in which some channels between layers are scaled, and that computes the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.exceptions import RecordError
from graphquant_core.graph import BatchNorm, GraphView, Shift, Step, plan_graph
from graphquant_core.graph.frozen import GraphDefEditor, evaluate_constants, import_frozen
from graphquant_core.graph.frozen.node_def import const_node
from graphquant_core.record import Record, validate_record
from graphquant_export.quantized.channel_flow import ChannelFlow, channel_flow
from graphquant_export.quantized.channel_moves import Numbers
from graphquant_export.quantized.find_layers import LayerPlace, find_layers

Float64Array = npt.NDArray[np.float64]


def balanced_by_record(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str], record: Record
) -> tf.compat.v1.GraphDef:
    """`graph_def` with what its layers take divided by the balance that `record` has of them.

    Raises:
        RecordError: A balance doesn't fit its layer, or something else than layers gives or takes
            the channel.
    """
    balances = {name: f.balance for name, f in record.items() if f.balance is not None}
    if not balances:
        return graph_def
    graph = import_frozen(graph_def)
    view = GraphView(graph)
    plan = plan_graph(graph, view=view)
    layers = [layer for layer in plan.layers if layer.name in record]
    validate_record(Record({layer.name: record[layer.name] for layer in layers}), plan)
    places = find_layers(view, layers, outputs)
    return balanced(graph_def, outputs, places, balances) if places else graph_def


def balanced(
    graph_def: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    places: Sequence[LayerPlace],
    balances: Mapping[str, npt.NDArray[np.float32]],
) -> tf.compat.v1.GraphDef:
    """`graph_def` with what its layers take divided by `balances`, channel by channel.

    The graph computes what it did: each channel is divided in the weight of the layer that gives
    it, its bias and batch norm, and multiplied in the weights of those that take it.

    Args:
        graph_def: Frozen float graph.
        outputs: Names of the ops that are its outputs.
        places: Its layers.
        balances: float32 ``[C]`` for each layer that has one, by its name.

    Raises:
        RecordError: Something else than layers gives or takes a channel, or others want another
            number.
    """
    if not balances:
        return graph_def
    flow = channel_flow(GraphView(places[0].op.graph), places, outputs)
    factors = _factors(flow, places, balances)
    editor = GraphDefEditor(graph_def)
    for place in places:
        name, layer = place.layer.name, place.layer
        given, taken = (_of(flow_of, name, factors) for flow_of in (flow.given, flow.taken))
        if place.weight is None or (given is None and taken is None):
            continue
        (weight,) = evaluate_constants(place.op.graph, [place.weight])
        if given is not None:
            shape = per_channel_shape(weight.shape, layer.weight_channel_axes)
            weight = weight / given.reshape(shape)
            for step in place.tail:
                _divide(editor, step, given, layer.output_channel_axis)
        if taken is not None:
            axes = [] if layer.weight_input_axis is None else [layer.weight_input_axis]
            weight = weight * taken.reshape(per_channel_shape(weight.shape, axes))
        _put(editor, place.op, layer.weight_port or 0, weight)
    return editor.graph_def(outputs)


def _of(numbers: Mapping[str, Numbers], name: str, factors: Float64Array) -> Float64Array | None:
    """The factors of the layer's channels, ``None`` when they are all 1."""
    found = factors[numbers[name]] if name in numbers else np.ones(1)
    return None if np.all(found == 1) else found


def _divide(editor: GraphDefEditor, step: Step, given: Float64Array, axis: int) -> None:
    """Divides what `step` adds; what it multiplies by stays."""
    if isinstance(step, BatchNorm):
        added = [step.beta, step.mean]
    elif isinstance(step, Shift):
        added = [step.value]
    else:
        return
    values = evaluate_constants(step.op.graph, added)
    for tensor, value in zip(added, values, strict=True):
        port = next(port for port, taken in enumerate(step.op.inputs) if taken is tensor)
        shape = value.shape
        if value.size != len(given):
            rank = step.output.shape.rank
            shape = (len(given), *[1] * (rank - 1 - axis % rank))
        divided = np.broadcast_to(value.reshape(-1), given.shape) / given
        _put(editor, step.op, port, divided.reshape(shape))


def _put(
    editor: GraphDefEditor,
    op: tf.Operation,
    port: int,
    value: Float64Array,
) -> None:
    """Gives `op` the constant `value`, under the name of the one that it alone took, if any."""
    array = value.astype(np.float32)
    source = op.inputs[port].op
    if source.type == "Const" and len(editor.consumers(source.name)) == 1:
        editor.replace(const_node(source.name, array))
        return
    name = editor.unique_name(f"{op.name}/{source.name.rpartition('/')[-1]}")
    editor.set_input(op.name, port, editor.add(const_node(name, array)))


def _factors(
    flow: ChannelFlow,
    places: Sequence[LayerPlace],
    balances: Mapping[str, npt.NDArray[np.float32]],
) -> Float64Array:
    """The factor of each channel.

    Raises:
        RecordError: Two layers want different ones, or the channel can't be scaled.
    """
    factors = np.full(len(flow.fixed), np.nan)
    for place in places:
        name = place.layer.name
        balance, numbers = balances.get(name), flow.taken.get(name)
        if numbers is None:
            if balance is not None and np.any(balance != 1):
                raise _refused(name, "what it takes comes from no layer that could be scaled")
            continue
        wanted = np.ones(len(numbers)) if balance is None else balance.astype(np.float64)
        if np.any(flow.fixed[numbers] & (wanted != 1)):
            raise _refused(name, "a channel of what it takes can't be scaled where it comes from")
        before = factors[numbers]
        factors[numbers] = wanted
        if np.any(~np.isnan(before) & (before != wanted)) or np.any(factors[numbers] != wanted):
            raise _refused(name, "what is scaled alike, here or in another layer, has several")
    return np.where(np.isnan(factors), 1.0, factors)


def _refused(name: str, reason: str) -> RecordError:
    return RecordError(f'tensor_balance_factor of layer "{name}" is not possible: {reason}')
