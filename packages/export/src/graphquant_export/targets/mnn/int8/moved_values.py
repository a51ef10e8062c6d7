"""Where a tensor's values go without being computed with, and where they come from."""

from __future__ import annotations

from collections.abc import Collection

import attrs
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen.shape_ops import SHAPE_TYPES

MOVING_TYPES = frozenset(
    {
        *("BatchToSpaceND", "Concat", "ConcatV2", "DepthToSpace", "ExpandDims", "Gather"),
        *("GatherV2", "Identity", "MirrorPad", "Pack", "Pad", "Reshape", "Slice", "SpaceToBatchND"),
        *("SpaceToDepth", "Split", "SplitV", "Squeeze", "StridedSlice", "Tile", "Transpose"),
        *("Unpack",),
    }
)
"""Ops whose result holds values of their input, and zeros, which lie on every grid."""

MONOTONE_TYPES = frozenset({"MaxPool", "Relu"})
"""Ops that give the same whether their input or their result is put on a grid."""

SPREADING_TYPES = frozenset(
    {
        *MOVING_TYPES,
        *("AvgPool", "CropAndResize", "LeakyRelu", "MaxPool", "Relu", "Relu6"),
        *("ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor"),
    }
)
"""Ops through which MNN's runtime spreads the grid of one tensor to another without one.

Source: Pipeline.cpp of MNN 3.6.1 (what these ops become there).
"""

INEXACT_TYPES = SPREADING_TYPES - MOVING_TYPES - {"Relu"}
"""Those among them that return something else with int8 than with floats."""


@attrs.frozen
class Takers:
    """Who takes the values of a tensor.

    Attributes:
        quantizers: Names of the fake quantisers that take all of them, in the order in which they
            are reached.
        partial: Names of those that take what a Relu or a MaxPool leaves of them.
        floats: Names of what takes the values as floats; an output of the model is its own.
    """

    quantizers: tuple[str, ...]
    partial: tuple[str, ...]
    floats: tuple[str, ...]


def find_takers(
    view: GraphView, start: tf.Tensor, outputs: Collection[str], quantizers: Collection[str]
) -> Takers:
    """Who takes `start`, as it is or moved about.

    Args:
        view: View of the simulation.
        start: The tensor.
        outputs: Names of the outputs of the model.
        quantizers: Names of the fake quantisers of the activations.
    """
    found: dict[bool, dict[str, None]] = {True: {}, False: {}}
    floats: dict[str, None] = {}
    waiting, seen = [(start, True)], {start.name}
    while waiting:
        tensor, whole = waiting.pop(0)
        if tensor.op.name in outputs:
            floats[tensor.op.name] = None
        for op, _ in view.consumers(tensor):
            if op.type in SHAPE_TYPES:
                continue
            if op.name in quantizers:
                found[whole][op.name] = None
            elif op.type in MOVING_TYPES or op.type in MONOTONE_TYPES:
                moved = [t for t in op.outputs if t.name not in seen]
                seen.update(t.name for t in moved)
                waiting.extend((t, whole and op.type in MOVING_TYPES) for t in moved)
            else:
                floats[op.name] = None
    return Takers(tuple(found[True]), tuple(found[False]), tuple(floats))


def is_never_negative(tensor: tf.Tensor) -> bool:
    """Whether the op that makes `tensor` says that it has no negative value."""
    while tensor.op.type in SPREADING_TYPES and tensor.op.type not in ("Relu", "Relu6"):
        floats = [t for t in tensor.op.inputs if t.dtype == tf.float32]
        if len(floats) != 1 or tensor.op.type in ("LeakyRelu", "ResizeBicubic"):
            return False
        tensor = floats[0]
    return tensor.op.type in ("Abs", "Relu", "Relu6", "Sigmoid", "Softmax")
