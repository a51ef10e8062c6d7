"""What a report says of the model itself: each quantised layer's grids and values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.exporter import ExportSource
from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.frozen import GraphDefEditor, evaluate_constants, import_frozen
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_core.record import Record
from graphquant_export.inputs.batches import Batch, make_batches
from graphquant_export.quantized.simulate import SimulatedGraph, SimulatedLayer, simulation_of
from graphquant_export.quantized.weight_layers import (
    checked_weights,
    weight_layers,
    weight_plan,
)
from graphquant_export.report.float_graph import FloatGraph, float_graph
from graphquant_export.report.histogram import Counting, Histogram
from graphquant_export.verification.comparison import Comparing
from graphquant_export.verification.truths import GraphRunner

Array = npt.NDArray[Any]


@attrs.frozen
class WeightFacts:
    """The weight of a layer.

    Attributes:
        shape: Its shape.
        scales: Number of scales; 0 when the record doesn't say.
        smallest_scale: The smallest of them, 0.0 without.
        largest_scale: The largest.
        codes_used: How many different codes occur; 0 when the record has no scale.
        histogram: Of what the codes stand for, batch norm folded in; the clip range is that of
            the largest scale.
    """

    shape: tuple[int, ...]
    scales: int
    smallest_scale: float
    largest_scale: float
    codes_used: int
    histogram: Histogram


@attrs.frozen
class LayerFacts:
    """One quantised layer.

    Attributes:
        name: Name of its op.
        op_type: Type of its op.
        scale_d: Scale of its activation; ``None`` when only weights are quantised.
        offset_d: Integer that stands for 0.0.
        activation: Values that went into its activation's quantiser.
        weight: Its weight, ``None`` without.
        sqnr: 10 log10(sum float² / sum (simulated - float)²) of its result, in dB, where the float
            model has no quantiser at all; ``None`` without difference or without simulation.
    """

    name: str
    op_type: str
    scale_d: float | None
    offset_d: int | None
    activation: Histogram | None
    weight: WeightFacts | None
    sqnr: float | None


@attrs.frozen
class ModelFacts:
    """The model of a report.

    Attributes:
        outputs: Names of the ops that are its outputs.
        size: Bytes of the frozen graph without its fake quantisers.
        samples: Samples that the values were observed on.
        plan: Every op that a layer handler knows.
        layers: The quantised layers in the order of the graph.
    """

    outputs: tuple[str, ...]
    size: int
    samples: int
    plan: Plan
    layers: tuple[LayerFacts, ...]


def find_facts(
    source: ExportSource, feeds: Mapping[str, npt.ArrayLike], batch_size: int | None
) -> ModelFacts:
    """What there is to say of the model that `source` holds, observed on `feeds`.

    Raises: as `graphquant_export.quantized.simulate.simulate`, or `weight_layers` where only
        weights are quantised, and as `verify` for `feeds`.
    """
    frozen = GraphDefEditor(source.model).graph_def(source.outputs)
    graph = import_frozen(frozen)
    batches = make_batches(graph, feeds, batch_size)
    without = frozen
    if isinstance(source.record, Record):
        simulated = simulation_of(source)
        exact = float_graph(simulated)
        plan, layers = plan_graph(graph), _quantized_layers(simulated, exact, batches)
        without = exact.graph_def
    else:
        view = GraphView(graph)
        plan = weight_plan(graph, view=view)
        layers = _weights_alone(graph, weight_layers(view, checked_weights(source.record)))
    return ModelFacts(
        outputs=tuple(source.outputs),
        size=without.ByteSize(),
        samples=batches.total,
        plan=plan,
        layers=layers,
    )


def _quantized_layers(
    simulated: SimulatedGraph, exact: FloatGraph, batches: Sequence[Batch]
) -> tuple[LayerFacts, ...]:
    sqnr = _noise(simulated, exact, batches)
    activations = _activations(simulated, batches)
    return tuple(
        LayerFacts(
            name=layer.name,
            op_type=layer.op_type,
            scale_d=layer.scale_d,
            offset_d=layer.offset_d,
            activation=activations[layer.quantizer],
            weight=_weight_facts(layer),
            sqnr=sqnr[layer.name],
        )
        for layer in simulated.layers
    )


def _activations(simulated: SimulatedGraph, batches: Sequence[Batch]) -> dict[str, Histogram]:
    """What goes into each fake quantiser of the frozen graph, by its name in the simulated one."""
    counting, taken = {}, {}
    for layer, quantized in zip(simulated.layers, simulated.model.layers, strict=True):
        low, high = ((code - layer.offset_d) * layer.scale_d for code in (-128, 127))
        counting[layer.quantizer] = Counting(low, high, layer.scale_d)
        taken[layer.quantizer] = quantized.place.quantized.name
    with GraphRunner(simulated.model.graph_def) as runner:
        for act in (Counting.see, Counting.count):
            for batch in batches:
                values = runner.run(taken.values(), batch.feeds)
                for quantizer, counted in counting.items():
                    act(counted, values[taken[quantizer]])
    return {quantizer: counted.result() for quantizer, counted in counting.items()}


def _noise(
    simulated: SimulatedGraph, exact: FloatGraph, batches: Sequence[Batch]
) -> dict[str, float | None]:
    """SQNR of each layer's result in the simulation beside the float model's."""
    compared = {layer.name: Comparing(layer.name, None) for layer in simulated.layers}
    with GraphRunner(exact.graph_def) as floats, GraphRunner(simulated.graph_def) as rounded:
        for batch in batches:
            wanted = floats.run(exact.results.values(), batch.feeds)
            found = rounded.run([layer.result for layer in simulated.layers], batch.feeds)
            for layer in simulated.layers:
                value = found[layer.result]
                # A Squeeze between the layer and its batch norm: the same values, one axis less.
                same = wanted[exact.results[layer.name]].reshape(value.shape)
                compared[layer.name].add(value, same)
    return {name: comparing.result().sqnr for name, comparing in compared.items()}


def _weight_facts(layer: SimulatedLayer) -> WeightFacts | None:
    codes, scale = layer.weight_codes, layer.weight_scale
    if codes is None or scale is None:
        return None
    values = codes * scale.reshape(per_channel_shape(codes.shape, layer.weight_axes))
    largest = float(scale.max())
    return WeightFacts(
        shape=codes.shape,
        scales=scale.size,
        smallest_scale=float(scale.min()),
        largest_scale=largest,
        codes_used=len(np.unique(codes)),
        histogram=_histogram(values, 127 * largest, largest),
    )


def _histogram(values: Array, clip: float, step: float) -> Histogram:
    counting = Counting(-clip, clip, step)
    counting.see(values)
    counting.count(values)
    return counting.result()


def _weights_alone(graph: tf.Graph, layers: Iterable[Layer]) -> tuple[LayerFacts, ...]:
    layers = [layer for layer in layers if layer.weight_port is not None]
    tensors = [
        graph.get_operation_by_name(layer.name).inputs[layer.weight_port] for layer in layers
    ]
    values = evaluate_constants(graph, tensors)
    return tuple(
        LayerFacts(
            name=layer.name,
            op_type=layer.op_type,
            scale_d=None,
            offset_d=None,
            activation=None,
            weight=WeightFacts(
                shape=value.shape,
                scales=0,
                smallest_scale=0.0,
                largest_scale=0.0,
                codes_used=0,
                histogram=_histogram(value, float(np.abs(value).max()), 0.0),
            ),
            sqnr=None,
        )
        for layer, value in zip(layers, values, strict=True)
    )
