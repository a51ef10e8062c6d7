"""Ops that say themselves that they are NCHW."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph.frozen.channels_last import (
    CHANNELS_LAST_PORTS,
    sizes_of_channels_last,
    use_channels_last,
)
from graphquant_export.layout.region import RANK, Region


def _turn(region: Region, op: tf.Operation) -> bool:
    """Lets `op` compute in NHWC, its result included."""
    node, port = region.editor.node(op.name), CHANNELS_LAST_PORTS.get(op.type, 0)
    if node.attr["data_format"].s != b"NCHW":
        return False
    region.editor.set_input(op.name, port, region.nhwc(op.inputs[port]))
    if op.type == "Conv2DBackpropInput":
        sizes = sizes_of_channels_last(region.editor, op.name, node.input[0])
        region.editor.set_input(op.name, 0, sizes)
    use_channels_last(node)
    region.add(op.outputs[0], op.name)
    return True


def _turn_bias(region: Region, op: tf.Operation) -> bool:
    """The bias of an image; one of a matrix has a single layout."""
    return op.inputs[0].shape.rank == RANK and _turn(region, op)


LAYERS = {
    **dict.fromkeys((*CHANNELS_LAST_PORTS, "MaxPool"), _turn),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _turn),
    "BiasAdd": _turn_bias,
}
