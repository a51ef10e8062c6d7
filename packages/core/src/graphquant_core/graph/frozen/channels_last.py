"""NCHW convolutions and poolings of a GraphDef as NHWC between two transpositions."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.graph.frozen.node_def import const_node, node_def

CHANNELS_LAST_PORTS = {
    "AvgPool": 0,
    "Conv2D": 0,
    "Conv2DBackpropInput": 2,
    "DepthwiseConv2dNative": 0,
}
"""Which input of each op type has the layout of `data_format`."""

TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)


def make_channels_last(editor: GraphDefEditor, name: str, op_type: str) -> None:
    """Lets the node `name`, which is NCHW, compute in NHWC; its consumers see NCHW as before."""
    node = editor.node(name)
    consumers = editor.consumers(name)
    dtype = tf.as_dtype(node.attr["T"].type)
    port = CHANNELS_LAST_PORTS[op_type]
    transposed = transpose(editor, f"{name}/nhwc", node.input[port], TO_NHWC, dtype)
    editor.set_input(name, port, transposed)
    if op_type == "Conv2DBackpropInput":
        editor.set_input(name, 0, sizes_of_channels_last(editor, name, node.input[0]))
    use_channels_last(node)
    result = transpose(editor, f"{name}/nchw", name, TO_NCHW, dtype)
    for taker, taken in consumers:
        editor.set_input(taker, taken, result)


def use_channels_last(node: tf.compat.v1.NodeDef) -> None:
    """Turns the attributes of `node`, which is NCHW, to NHWC; its inputs stay."""
    node.attr["data_format"].s = b"NHWC"
    for key in ("strides", "dilations", "ksize"):
        sizes = list(node.attr[key].list.i) if key in node.attr else []
        if sizes:
            node.attr[key].list.i[:] = [sizes[axis] for axis in TO_NHWC]
    if "explicit_paddings" in node.attr:
        pads = list(node.attr["explicit_paddings"].list.i)
        pairs = list(zip(pads[::2], pads[1::2], strict=True))
        ordered = [pairs[axis] for axis in TO_NHWC] if pairs else []
        node.attr["explicit_paddings"].list.i[:] = [side for pair in ordered for side in pair]


def transpose(
    editor: GraphDefEditor, name: str, tensor: str, order: tuple[int, ...], dtype: tf.DType
) -> str:
    """Adds a Transpose of `tensor`, called like `name`; its name."""
    scope = editor.unique_name(name)
    axes = editor.add(const_node(f"{scope}/axes", np.array(order, np.int32)))
    node = node_def(scope, "Transpose", [tensor, axes], T=dtype, Tperm=tf.int32)
    return editor.add(node)


def sizes_of_channels_last(editor: GraphDefEditor, name: str, sizes: str) -> str:
    """Adds what takes the shape `sizes` of an NCHW tensor into that of NHWC, for the op `name`."""
    scope = editor.unique_name(f"{name}/nhwc_sizes")
    order = editor.add(const_node(f"{scope}/order", np.array(TO_NHWC, np.int32)))
    axis = editor.add(const_node(f"{scope}/axis", np.int32(0)))
    return editor.add(
        node_def(
            scope,
            "GatherV2",
            [sizes, order, axis],
            Tparams=tf.int32,
            Tindices=tf.int32,
            Taxis=tf.int32,
            batch_dims=0,
        )
    )
