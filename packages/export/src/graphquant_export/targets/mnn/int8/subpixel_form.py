"""Transposed convolutions as convolutions, of which MNN has an int8 kernel.

    [Pad] -> Conv2D -> [BiasAdd] -> [Relu] -> DepthToSpace -> [StridedSlice]

The last op has the name of what the layer returned, so that everything behind it stays as it is.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import GraphView, following_activation
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.graph.frozen.node_def import const_node, node_def
from graphquant_core.handler import text_attribute
from graphquant_export.quantized.simulate import SimulatedGraph, SimulatedLayer
from graphquant_export.quantized.subpixels import (
    Axis,
    common_block,
    same_crop,
    subpixel_weight,
)

TRANSPOSED = "Conv2DBackpropInput"
WEIGHT_PORT, VALUE_PORT = 1, 2
_BATCH_AND_CHANNELS = 0b1001
"""The axes of which a StridedSlice takes everything."""


@attrs.frozen(eq=False)
class SubpixelForm:
    """A simulation without the transposed convolutions that it could do without.

    Attributes:
        simulated: The simulation.
        finished: Name of the op that has the whole result of each layer that is such a convolution,
            by the layer's name.
    """

    simulated: SimulatedGraph
    finished: dict[str, str]


def without_transposed(simulated: SimulatedGraph) -> SubpixelForm:
    """`simulated` with a Conv2D for each transposed convolution of a static height and width."""
    graph = import_frozen(simulated.graph_def)
    view, editor = GraphView(graph), GraphDefEditor(simulated.graph_def)
    found: dict[str, tuple[SimulatedLayer, str]] = {}
    for layer in simulated.layers:
        op = graph.get_operation_by_name(layer.node)
        axes = _axes(op) if op.type == TRANSPOSED else None
        if axes is not None:
            activation = following_activation(view, _result(graph, layer))
            merged = activation is not None and layer.result not in simulated.outputs
            last = activation.name if merged and activation is not None else layer.result
            found[layer.name] = _convolution(editor, op, layer, last, *axes), last
    layers = tuple(
        found[layer.name][0] if layer.name in found else layer for layer in simulated.layers
    )
    form = attrs.evolve(simulated, graph_def=editor.graph_def(simulated.outputs), layers=layers)
    return SubpixelForm(form, {name: last for name, (_, last) in found.items()})


def _result(graph: tf.Graph, layer: SimulatedLayer) -> tf.Tensor:
    return graph.get_operation_by_name(layer.result).outputs[0]


def _axes(op: tf.Operation) -> tuple[Axis, Axis] | None:
    """Height and width; ``None`` where they aren't static, or MNN converts `op` wrongly."""
    padding = text_attribute(op, "padding")
    shapes = [tensor.shape for tensor in (op.inputs[VALUE_PORT], op.outputs[0])]
    if text_attribute(op, "data_format") != "NHWC" or padding == "EXPLICIT":
        return None
    if any(shape.rank is None or None in shape.as_list()[1:] for shape in shapes):
        return None
    sizes = [shape.as_list()[1:3] for shape in shapes]
    kernel = op.inputs[WEIGHT_PORT].shape.as_list()[:2]
    _, *strides, _ = op.get_attr("strides")
    height, width = (
        Axis(*axis, common_block(strides), same_crop(*axis) if padding == "SAME" else 0)
        for axis in zip(sizes[0], sizes[1], kernel, strides, strict=True)
    )
    return height, width


def _convolution(
    editor: GraphDefEditor,
    op: tf.Operation,
    layer: SimulatedLayer,
    last: str,
    height: Axis,
    width: Axis,
) -> SimulatedLayer:
    """Puts the ops in the place of `op`; what of `layer` is another then."""
    takers = editor.consumers(last)
    names = {layer.node, layer.result, last}
    inner = {name: editor.unique_name(f"{name}_subpixels") for name in sorted(names)}
    for name in names:
        editor.rename(name, inner[name])
    changed = _rearranged(editor, layer, height, width)
    changed = attrs.evolve(changed, node=inner[layer.node], result=inner[layer.result])
    _replace_sum(editor, op, changed, height, width)
    for before, after in ((layer.node, layer.result), (layer.result, last)):
        if before != after:
            editor.set_input(inner[after], 0, inner[before])
    spread = _spread(editor, inner[last], last, height, width)
    for taker, port in takers:
        editor.set_input(taker, port, spread)
    return changed


def _rearranged(
    editor: GraphDefEditor, layer: SimulatedLayer, height: Axis, width: Axis
) -> SimulatedLayer:
    """`layer` with its constants as the convolution takes them, which are added."""
    assert layer.weight_codes is not None
    assert layer.weight_scale is not None
    copies = height.block * width.block
    scales, scale = (_of_each_copy(one, copies) for one in (layer.weight_scale, layer.scale))
    codes = subpixel_weight(layer.weight_codes.transpose(2, 0, 1, 3), height, width)
    codes = np.ascontiguousarray(codes.transpose(1, 2, 3, 0))
    weight = editor.unique_name(f"{layer.weight}_subpixels")
    editor.add(const_node(weight, (codes.astype(np.float32) * scales).astype(np.float32)))
    changed = attrs.evolve(
        layer,
        op_type="Conv2D",
        weight=weight,
        weight_codes=codes,
        weight_scale=scales,
        weight_axes=(3,) if layer.weight_axes else (),
        scale=scale,
    )
    if layer.bias_codes is None:
        return changed
    bias_codes = np.tile(layer.bias_codes, copies)
    bias = editor.unique_name(f"{layer.bias}_subpixels")
    editor.add(const_node(bias, (bias_codes.astype(np.float64) * scale).astype(np.float32)))
    return attrs.evolve(changed, bias=bias, bias_codes=bias_codes)


def _of_each_copy(scale: npt.NDArray[np.float32], copies: int) -> npt.NDArray[np.float32]:
    return scale if len(scale) == 1 else np.tile(scale, copies)


def _replace_sum(
    editor: GraphDefEditor, op: tf.Operation, layer: SimulatedLayer, height: Axis, width: Axis
) -> None:
    """The Conv2D, with a Pad before it, in the place of the node of `layer`; the bias behind it."""
    taken = editor.node(layer.node).input[VALUE_PORT]
    if height.padding != (0, 0) or width.padding != (0, 0):
        padding = np.array([(0, 0), height.padding, width.padding, (0, 0)], np.int32)
        constant = editor.add(const_node(editor.unique_name(f"{op.name}/padding"), padding))
        name = editor.unique_name(f"{op.name}/Pad")
        types = {"T": tf.float32, "Tpaddings": tf.int32}
        taken = editor.add(node_def(name, "Pad", [taken, constant], **types))
    assert layer.weight is not None
    convolution = node_def(
        layer.node,
        "Conv2D",
        [taken, layer.weight],
        T=tf.float32,
        strides=[1, height.step, width.step, 1],
        dilations=[1, 1, 1, 1],
        padding="VALID",
        data_format="NHWC",
    )
    editor.replace(convolution)
    if layer.bias is not None:
        editor.set_input(layer.result, 1, layer.bias)


def _spread(editor: GraphDefEditor, source: str, name: str, height: Axis, width: Axis) -> str:
    """The ops that put the values of `source` where they belong; the last is called `name`."""
    block = height.block
    # An op of its own has the name, even where it changes nothing: a 1 x 1 kernel and stride 1.
    whole = block > 1 and height.is_whole and width.is_whole
    if block > 1:
        spread = name if whole else editor.unique_name(f"{name}/DepthToSpace")
        options = {"T": tf.float32, "block_size": block, "data_format": "NHWC"}
        source = editor.add(node_def(spread, "DepthToSpace", [source], **options))
    if whole:
        return source
    ends = (height.crop + height.result, width.crop + width.result)
    numbers = (("begin", height.crop, width.crop), ("end", *ends), ("strides", 1, 1))
    inputs = [source, *(_corner(editor, name, *number) for number in numbers)]
    return editor.add(
        node_def(
            name,
            "StridedSlice",
            inputs,
            T=tf.float32,
            Index=tf.int32,
            begin_mask=_BATCH_AND_CHANNELS,
            end_mask=_BATCH_AND_CHANNELS,
            ellipsis_mask=0,
            new_axis_mask=0,
            shrink_axis_mask=0,
        )
    )


def _corner(editor: GraphDefEditor, name: str, what: str, row: int, column: int) -> str:
    other = int(what == "strides")
    value = np.array([other, row, column, other], np.int32)
    return editor.add(const_node(editor.unique_name(f"{name}/{what}"), value))
