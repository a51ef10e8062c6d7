"""From the graph of integers back to floats: the same numbers, in ops that converters know."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, fake_quantizer
from graphquant_core.record import Record
from graphquant_core.value_grid import ValueGrid
from graphquant_export.targets.ascend import (
    DeployedLayer,
    deploy_graph,
    without_ascend_functions,
)
from graphquant_export.targets.ascend.layer_integers import LayerIntegers
from graphquant_export.targets.ascend.sites import Site

Float32Array = npt.NDArray[np.float32]


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
        bias: Name of the Const ``[C]`` with codes * scale, float32; ``None`` without bias.
        bias_codes: int32 ``[C]``.
        scale: float32 ``[1]`` or ``[C]``, scale_d * weight_scale: the step of sums and bias.
        dequant: Name of its AscendDequant in the graph of integers, whose value is the layer's
            result there.
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
    dequant: str

    @property
    def grid(self) -> ValueGrid:
        """The grid of the activation."""
        return ValueGrid(self.scale_d, self.offset_d)


@attrs.frozen(eq=False)
class SimulatedGraph:
    """The deployed model as a float graph of stock ops.

    Attributes:
        graph_def: Fake quantisers at the layers' inputs, weights and biases on their grids,
            batch norm folded; everything else as in the model, under its own names.
        outputs: Names of the ops that are its outputs.
        layers: Its quantised layers, in the order of the graph.
        deployed: The same model with AscendQuant … AscendDequant, for `integer_reference`.
    """

    graph_def: tf.compat.v1.GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...]
    layers: tuple[SimulatedLayer, ...]
    deployed: tf.compat.v1.GraphDef = attrs.field(repr=False)


def simulate(
    model: tf.compat.v1.GraphDef, outputs: Sequence[str], record: Record
) -> SimulatedGraph:
    """The simulation of what `model` and `record` become on a target; nothing is written.

    Args:
        model: Frozen graph: the one that was trained, with its fake quantisers, or a float one.
        outputs: Names of the ops that are the model's outputs.
        record: Scales and offsets of the layers.

    Raises: as `graphquant_export.targets.ascend.export_ascend`, except for files.
    """
    deployed = deploy_graph(model, outputs, record)
    editor = GraphDefEditor(without_ascend_functions(deployed.graph_def))
    parts = list(zip(deployed.layers, deployed.sites, deployed.integers, strict=True))
    layers = tuple(_simulate_layer(editor, *part) for part in parts)
    for layer in {layer.dequant: layer for layer in layers}.values():
        for taker, port in editor.consumers(layer.dequant):
            editor.set_input(taker, port, layer.result)
        editor.move_control_edges(layer.dequant, layer.result)
    graph_def = editor.graph_def(deployed.outputs)
    return SimulatedGraph(graph_def, deployed.outputs, layers, deployed.graph_def)


def _simulate_layer(
    editor: GraphDefEditor, deployed: DeployedLayer, site: Site, numbers: LayerIntegers
) -> SimulatedLayer:
    factors = site.factors
    if editor.node(deployed.quant).op == "AscendQuant":
        x = editor.node(deployed.quant).input[0]
        editor.replace(fake_quantizer(deployed.quant, x, factors.scale_d, factors.offset_d))
    per_channel = factors.scale_w is not None and len(factors.scale_w) > 1
    axes = site.layer.weight_channel_axes if per_channel else ()
    if deployed.weight_quant is not None and numbers.weight is not None:
        assert factors.scale_w is not None
        shape = per_channel_shape(numbers.weight.shape, axes)
        weight = numbers.weight.astype(np.float32) * factors.scale_w.reshape(shape)
        editor.replace(const_node(deployed.weight_quant, weight))
    if deployed.bias is not None and numbers.bias is not None:
        bias = numbers.bias.astype(np.float64) * numbers.scale.astype(np.float64)
        editor.replace(const_node(deployed.bias, bias.astype(np.float32)))
    return SimulatedLayer(
        name=deployed.name,
        op_type=deployed.op_type,
        node=deployed.node,
        result=deployed.result,
        quantizer=deployed.quant,
        scale_d=factors.scale_d,
        offset_d=factors.offset_d,
        weight=deployed.weight_quant,
        weight_codes=numbers.weight,
        weight_scale=None if numbers.weight is None else factors.scale_w,
        weight_axes=axes,
        bias=deployed.bias,
        bias_codes=numbers.bias,
        scale=numbers.scale,
        dequant=deployed.dequant,
    )
