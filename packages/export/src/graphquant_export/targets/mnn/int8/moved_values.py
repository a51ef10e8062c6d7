"""The ops through which MNN's runtime spreads the grid of one tensor to another."""

from __future__ import annotations

import tensorflow as tf

from graphquant_core import target_rules

MOVING_TYPES = target_rules.MOVING_TYPES - {"MaxPool", "ResizeNearestNeighbor"} | {"Tile"}
"""Ops whose result holds values of their input, and zeros, which MNN computes rightly."""

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


def is_never_negative(tensor: tf.Tensor) -> bool:
    """Whether the op that makes `tensor` says that it has no negative value."""
    while tensor.op.type in SPREADING_TYPES and tensor.op.type not in ("Relu", "Relu6"):
        floats = [t for t in tensor.op.inputs if t.dtype == tf.float32]
        if len(floats) != 1 or tensor.op.type in ("LeakyRelu", "ResizeBicubic"):
            return False
        tensor = floats[0]
    return tensor.op.type in ("Abs", "Relu", "Relu6", "Sigmoid", "Softmax")
