"""A quantised model in floats: the same numbers, in ops that TensorFlow and converters know."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exporter import ExportSource
from graphquant_core.record import Record
from graphquant_core.value_grid import ValueGrid
from graphquant_core.weight_record import Factors
from graphquant_export.quantized.emit import EmittedLayer, emit
from graphquant_export.quantized.exact_form import ExactForm
from graphquant_export.quantized.float_form import FloatForm
from graphquant_export.quantized.integers import Float32Array
from graphquant_export.quantized.layer import QuantizedLayer
from graphquant_export.quantized.model import QuantizedModel, quantized_model
from graphquant_export.quantized.parts import channel_vector


@attrs.frozen(eq=False)
class SimulatedLayer:
    """One layer, as the simulation computes it and as a target stores it.

    Attributes:
        name: Name of the layer in the record.
        op_type: Type of its op.
        node: Name of the op that sums.
        result: Name of the node with the layer's result: its BiasAdd, its `node` when it has no
            bias, or the Concat of its group. An activation function is not part of it.
        quantizer: Name of the FakeQuantWithMinMaxArgs of its activation, which layers with the
            same input and factors share. Pad or Split may stand between the two.
        scale_d: Scale of the activation: x ≈ (q - offset_d) * scale_d, q from -128 to 127.
        offset_d: Integer that stands for 0.0.
        weight: Name of the Const with codes * scale, float32; ``None`` without weight.
        weight_codes: int8 in the shape of the weight, batch norm folded in.
        weight_scale: float32 ``[1]`` or ``[C]``.
        weight_axes: Axes of the weight whose row-major product is C; ``()`` for one scale.
        bias: Name of the Const with codes * scale, float32; ``None`` without bias.
        bias_codes: int32 in its shape: ``[C]``, with ones behind where the channels of the result
            are neither its axis 1 nor its last.
        scale: float32 ``[1]`` or ``[C]``, scale_d * weight_scale: the step of sums and bias.
    """

    name: str
    op_type: str
    node: str
    result: str
    quantizer: str
    scale_d: float
    offset_d: int
    weight: str | None
    weight_codes: npt.NDArray[np.int8] | None = attrs.field(repr=False)
    weight_scale: Float32Array | None = attrs.field(repr=False)
    weight_axes: tuple[int, ...]
    bias: str | None
    bias_codes: npt.NDArray[np.int32] | None = attrs.field(repr=False)
    scale: Float32Array = attrs.field(repr=False)

    @property
    def grid(self) -> ValueGrid:
        """The grid of the activation."""
        return ValueGrid(self.scale_d, self.offset_d)


@attrs.frozen(eq=False)
class ExactGraph:
    """The deployed model with a graph of integers between quantisers and dequantisations.

    Attributes:
        graph_def: The graph, for `graphquant_export.integer_reference`.
        results: Name of the node with a layer's dequantised result, by that of its result in the
            simulation.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    results: dict[str, str]


@attrs.frozen(eq=False)
class SimulatedGraph:
    """The deployed model as a float graph of stock ops.

    Attributes:
        graph_def: Fake quantisers at the layers' inputs, weights and biases on their grids,
            batch norm folded; everything else as in the model, under its own names.
        outputs: Names of the ops that are its outputs.
        layers: Its quantised layers, in the order of the graph.
        model: What it simulates.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...]
    layers: tuple[SimulatedLayer, ...]
    model: QuantizedModel = attrs.field(repr=False)

    @property
    def exact(self) -> ExactGraph:
        """The same model in integers."""
        return self.model.derived(_exact)


def simulate(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], record: Factors
) -> SimulatedGraph:
    """The simulation of what `model` and `record` become on a target; nothing is written.

    Args:
        model: Frozen graph: the one that was trained, with its fake quantisers, or a float one.
        outputs: Names of the ops that are the model's outputs.
        record: Scales and offsets of the layers.

    Returns:
        A graph of the caller's own, who may change it.

    Raises: as `graphquant_export.quantized.model.quantized_model`.
    """
    quantized = quantized_model(model, outputs, record)
    graph_def, layers = quantized.derived(_floats)
    copied = tf.compat.v1.GraphDef()
    copied.CopyFrom(graph_def)
    return SimulatedGraph(copied, quantized.outputs, layers, quantized)


def simulation_of(source: ExportSource) -> SimulatedGraph:
    """The simulation of what `source` holds, which keeps it.

    Raises: as `simulate`.
    """
    return source.derived(_simulate_source)


def source_of(
    simulated: SimulatedGraph, model: tf.compat.v1.GraphDef, record: Record
) -> ExportSource:
    """What an artifact was made of, with the simulation of it built already.

    Args:
        simulated: The simulation of `model`.
        model: The frozen graph.
        record: The record that it was made of, or one that differs in the grids of values alone.
    """
    source = ExportSource(model, simulated.outputs, record)
    simulation_of(source)
    return source


def _simulate_source(source: ExportSource) -> SimulatedGraph:
    return simulate(source.model, source.outputs, source.record)


def _floats(
    model: QuantizedModel,
) -> tuple[tf.compat.v1.GraphDef, tuple[SimulatedLayer, ...]]:
    editor, emitted = emit(model, FloatForm())
    pairs = zip(emitted, model.layers, strict=True)
    layers = tuple(_simulated(names, layer) for names, layer in pairs)
    return editor.graph_def(model.outputs), layers


def _exact(model: QuantizedModel) -> ExactGraph:
    editor, emitted = emit(model, ExactForm())
    results = {layer.sums: layer.value for layer in emitted}
    return ExactGraph(editor.graph_def(model.outputs), results)


def _simulated(names: EmittedLayer, layer: QuantizedLayer) -> SimulatedLayer:
    factors, integers = layer.factors, layer.integers
    return SimulatedLayer(
        name=names.name,
        op_type=names.op_type,
        node=names.node,
        result=names.sums,
        quantizer=names.quantizer,
        scale_d=factors.scale_d,
        offset_d=factors.offset_d,
        weight=names.weight,
        weight_codes=integers.weight,
        weight_scale=None if integers.weight is None else factors.scale_w,
        weight_axes=layer.weight_axes,
        bias=names.bias,
        bias_codes=None if integers.bias is None else channel_vector(layer, integers.bias),
        scale=integers.scale,
    )
