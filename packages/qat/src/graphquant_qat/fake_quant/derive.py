"""From a graph with fake quantisers to the float graph behind them and its record."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import GraphView, affine_tail
from graphquant_core.graph.frozen import GraphDefEditor, evaluate_constants, import_frozen
from graphquant_core.graph.frozen.fold_batch_norm import folds, parameters
from graphquant_core.graph.frozen.node_def import const_node
from graphquant_core.record import LayerFactors, Record
from graphquant_qat.fake_quant.layers import FakeQuantizedLayer, find_layers
from graphquant_qat.fake_quant.nodes import (
    MOVING_ACTIVATIONS,
    FakeQuant,
    read_fake_quants,
)
from graphquant_qat.fake_quant.ranges import Float64Array, int8_weight

logger = logging.getLogger(__name__)

SMALLEST_WEIGHT_BITS = 2


@attrs.frozen(eq=False)
class FakeQuantizedWeight:
    """float32 values of a weight, and the step of the fake quantiser for each of them."""

    values: npt.NDArray[np.float32]
    steps: npt.NDArray[np.float32]


def derive_record(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tuple[tf.compat.v1.GraphDef, Record]:
    """The graph with its layers' fake quantisers taken out, and the factors that they stood for.

    Its weights are the fake-quantised ones. A fake quantiser that something else takes as well
    stays for that.

    Args:
        model: Frozen graph with TensorFlow's fake quantisers.
        outputs: Names of the ops that are the model's outputs.

    Raises:
        NoLayersError: No layer has fake-quantised inputs.
        BitsError, RangeError, NonFiniteError, UncalibratedError: A fake quantiser of a layer can't
            be expressed; names it.
        ModelFileError: The model isn't frozen, or has graphquant's own fake quantisers.
    """
    pruned = GraphDefEditor(model).graph_def(outputs)
    graph = import_frozen(pruned)
    view = GraphView(graph)
    layers = find_layers(view)
    ops = {op: None for entry in layers for op in (entry.activation, entry.weight) if op}
    ranges = read_fake_quants(list(ops))
    activations = {entry.op.name: _activation_factors(ranges, entry) for entry in layers}
    weights = _weights(graph, layers, ranges)
    bare = _without_fake_quants(view, pruned, frozenset(outputs), layers, weights)
    factors = _folded_factors(bare, outputs, layers, weights)
    record = {}
    for entry in layers:
        name = entry.layer.name
        scale_w = None
        if name in weights:
            weight = weights[name]
            result = int8_weight(
                weight.values, weight.steps, factors[name], entry.layer.weight_channel_axes
            )
            scale_w = result.scale
            if result.difference > 0:
                logger.warning(
                    'layer "%s": the range of "%s" is not symmetric, which Ascend wants of '
                    "weights; they are quantised again, up to %.3g steps away",
                    name,
                    entry.weight.name if entry.weight else "",
                    result.difference,
                )
        record[name] = LayerFactors(*activations[name], scale_w)
    return bare, Record(record)


def _activation_factors(
    ranges: dict[tf.Operation, FakeQuant], entry: FakeQuantizedLayer
) -> tuple[float, int]:
    found = ranges[entry.activation]
    if found.narrow:
        logger.warning(
            "%s has narrow_range, which Ascend's activations don't: values below its range may "
            "come out one step lower",
            found.named,
        )
    return found.activation_factors


def _weights(
    graph: tf.Graph, layers: Sequence[FakeQuantizedLayer], ranges: dict[tf.Operation, FakeQuant]
) -> dict[str, FakeQuantizedWeight]:
    """By layer name; the steps are moved as the values are, by whatever stands between."""
    fake = {entry.weight.name: ranges[entry.weight] for entry in layers if entry.weight}
    for found in fake.values():
        found.check_bits(SMALLEST_WEIGHT_BITS)
    inputs = {
        entry.layer.name: entry.op.inputs[entry.layer.weight_port]
        for entry in layers
        if entry.layer.weight_port is not None
    }
    results = [found.op.outputs[0] for found in fake.values()]
    own = evaluate_constants(graph, results)
    steps = {
        result.name: np.broadcast_to(found.grid[0], value.shape)
        for result, found, value in zip(results, fake.values(), own, strict=True)
    }
    ports = list(inputs.values())
    values = evaluate_constants(graph, ports)
    moved = evaluate_constants(graph, ports, steps)
    return {
        name: FakeQuantizedWeight(value, step)
        for name, value, step in zip(inputs, values, moved, strict=True)
    }


def _without_fake_quants(
    view: GraphView,
    model: tf.compat.v1.GraphDef,
    outputs: frozenset[str],
    layers: Sequence[FakeQuantizedLayer],
    weights: dict[str, FakeQuantizedWeight],
) -> tf.compat.v1.GraphDef:
    editor = GraphDefEditor(model)
    inputs = {(entry.op.name, entry.layer.activation_port) for entry in layers}
    for op in {entry.activation: None for entry in layers}:
        x = op.inputs[0]
        if _only_layers_take(view, op, inputs, outputs):
            for taker, port in editor.consumers(op.name):
                editor.set_input(taker, port, x.name)
            editor.move_control_edges(op.name, x.op.name)
    for entry in layers:
        layer = entry.layer
        port = layer.activation_port
        if entry.op.inputs[port].op is entry.activation:
            editor.set_input(layer.name, port, entry.activation.inputs[0].name)
        if layer.weight_port is not None:
            name = editor.unique_name(f"{layer.name}/fake_quantised_weight")
            editor.add(const_node(name, weights[layer.name].values))
            editor.set_input(layer.name, layer.weight_port, name)
    return editor.graph_def(outputs)


def _only_layers_take(
    view: GraphView, op: tf.Operation, inputs: set[tuple[str, int]], outputs: frozenset[str]
) -> bool:
    """Whether all values of `op` end in `inputs`, maybe moved on the way."""
    waiting = [op]
    while waiting:
        source = waiting.pop()
        if source.name in outputs:
            return False
        for tensor in source.outputs:
            for taker, port in view.consumers(tensor):
                if (taker.name, port) in inputs:
                    continue
                if MOVING_ACTIVATIONS.get(taker.type) != port:
                    return False
                waiting.append(taker)
    return True


def _folded_factors(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    layers: Sequence[FakeQuantizedLayer],
    weights: dict[str, FakeQuantizedWeight],
) -> dict[str, Float64Array]:
    """float64 ``[C]`` for each layer with weight: what the export folds into it."""
    graph = import_frozen(model)
    view = GraphView(graph)
    tails = {}
    for layer in (entry.layer for entry in layers if entry.layer.name in weights):
        result = graph.get_operation_by_name(layer.name).outputs[0]
        axis, channels = layer.output_channel_axis, layer.output_channels or 0
        tails[layer.name] = (
            affine_tail(view, result, axis, channels, frozenset(outputs)),
            channels,
        )
    needed = [tensor for tail, _ in tails.values() for tensor in parameters(tail)]
    values = dict(zip([t.name for t in needed], evaluate_constants(graph, needed), strict=True))
    return {name: folds(tail, values, count)[-1].factor for name, (tail, count) in tails.items()}
