"""Means, sums and extremes over axes that are known, and axes that are left out."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from graphquant_core.graph.frozen.channels_last import TO_NCHW, TO_NHWC
from graphquant_export.layout.region import RANK, Region


def _reduce(region: Region, op: tf.Operation) -> bool:
    axes = region.value(op.inputs[1])
    if axes is None or not region.has(op.inputs[0]):
        return False
    gone = {int(axis) % RANK for axis in np.ravel(axes)}
    kept = bool(op.get_attr("keep_dims"))
    if not kept and not _in_order(gone):
        return False
    turned = np.array([TO_NCHW[axis] for axis in sorted(gone)], axes.dtype)
    region.editor.set_input(op.name, 0, region.nhwc(op.inputs[0]))
    region.editor.set_input(op.name, 1, region.constant(op.name, turned))
    if kept:
        region.add(op.outputs[0], op.name)
    return True


def _squeeze(region: Region, op: tf.Operation) -> bool:
    gone = {int(axis) % RANK for axis in op.get_attr("squeeze_dims")}
    if not gone or not region.has(op.inputs[0]) or not _in_order(gone):
        return False
    region.editor.set_input(op.name, 0, region.nhwc(op.inputs[0]))
    region.editor.node(op.name).attr["squeeze_dims"].list.i[:] = [
        TO_NCHW[axis] for axis in sorted(gone)
    ]
    return True


def _in_order(gone: set[int]) -> bool:
    """Whether the axes of NCHW that are left have the same order in NHWC."""
    left = [axis for axis in TO_NHWC if axis not in gone]
    return left == sorted(left)


REDUCING = {
    **dict.fromkeys(("All", "Any", "Max", "Mean", "Min", "Prod", "Sum"), _reduce),
    "Squeeze": _squeeze,
}
