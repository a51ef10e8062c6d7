"""Ops that move values about, or join or part them, along axes that are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from graphquant_core.graph.frozen.channels_last import TO_NCHW, TO_NHWC
from graphquant_core.graph.frozen.node_def import node_def
from graphquant_export.layout.region import RANK, Region

Rule = Callable[[Region, tf.Operation], bool]


def _along_axis(port: int | None) -> Rule:
    """A rule for ops whose axis is input `port`, the last one for ``None``."""

    def turn(region: Region, op: tf.Operation) -> bool:
        place = len(op.inputs) - 1 if port is None else port
        axis = region.value(op.inputs[place])
        data = [index for index, x in enumerate(op.inputs) if x.dtype == op.outputs[0].dtype]
        data = [index for index in data if index != place]
        known = any(region.has(op.inputs[index]) for index in data)
        if axis is None or not known or any(op.inputs[i].shape.rank != RANK for i in data):
            return False
        for index in data:
            region.editor.set_input(op.name, index, region.nhwc(op.inputs[index]))
        turned = np.asarray(TO_NCHW[int(axis)], axis.dtype)
        region.editor.set_input(op.name, place, region.constant(op.name, turned))
        for index, output in enumerate(op.outputs):
            region.add(output, f"{op.name}:{index}" if index else op.name)
        return True

    return turn


def _pad(region: Region, op: tf.Operation) -> bool:
    pads = region.value(op.inputs[1])
    if pads is None or not region.has(op.inputs[0]):
        return False
    region.editor.set_input(op.name, 0, region.nhwc(op.inputs[0]))
    region.editor.set_input(op.name, 1, region.constant(op.name, pads[list(TO_NHWC)]))
    region.add(op.outputs[0], op.name)
    return True


def _transpose(region: Region, op: tf.Operation) -> bool:
    """One between the two layouts is none any more."""
    value = region.value(op.inputs[1])
    order = () if value is None else tuple(value.tolist())
    if order == TO_NHWC and region.has(op.inputs[0]):
        source = region.nhwc(op.inputs[0])
        region.editor.replace(node_def(op.name, "Identity", [source], T=op.outputs[0].dtype))
        return True
    if order == TO_NCHW:
        source = region.nchw(op.inputs[0])
        region.editor.set_input(op.name, 0, source)
        region.add(op.outputs[0], source, op.name)
        return True
    return False


def _reshape(region: Region, op: tf.Operation) -> bool:
    """The values of an image of one pixel have one order."""
    if not region.has(op.inputs[0]) or op.inputs[0].shape.as_list()[2:] != [1, 1]:
        return False
    region.editor.set_input(op.name, 0, region.nhwc(op.inputs[0]))
    return True


def _shape(region: Region, op: tf.Operation) -> bool:
    """The shape of the NHWC tensor in the order of the other."""
    if not region.has(op.inputs[0]):
        return False
    editor = region.editor
    inner = editor.unique_name(f"{op.name}/nhwc")
    dtype = op.outputs[0].dtype
    types = {"T": op.inputs[0].dtype, "out_type": dtype}
    editor.add(node_def(inner, "Shape", [region.nhwc(op.inputs[0])], **types))
    order = region.constant(f"{op.name}/order", np.array(TO_NCHW, np.int32))
    axis = region.constant(f"{op.name}/axis", np.array(0, np.int32))
    types = {"Tparams": dtype, "Tindices": tf.int32, "Taxis": tf.int32}
    gather = node_def(op.name, "GatherV2", [inner, order, axis], batch_dims=0, **types)
    editor.replace(gather)
    return True


MOVING = {
    "ConcatV2": _along_axis(None),
    "Split": _along_axis(0),
    "SplitV": _along_axis(2),
    **dict.fromkeys(("MirrorPad", "Pad", "PadV2"), _pad),
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Shape": _shape,
}
