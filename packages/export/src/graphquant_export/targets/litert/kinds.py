"""What the int8 kernels of LiteRT ask of the grids of their operands.

Source: the operator table of LiteRT's 8-bit quantisation specification, and the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from graphquant_export.targets.rules import SHARES, SIGNED_SHARES


@attrs.frozen
class WeightPorts:
    """Inputs of an operator that multiplies by a weight, and how it stores the weight.

    Attributes:
        activation: Index of the activation.
        weight: Index of the weight.
        bias: Index of the bias.
        channel_axis: Axis of the stored weight with the output channels.
    """

    activation: int
    weight: int
    bias: int
    channel_axis: int


WEIGHT_PORTS = {
    "CONV_2D": WeightPorts(0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": WeightPorts(0, 1, 2, 3),
    "FULLY_CONNECTED": WeightPorts(0, 1, 2, 0),
    "TRANSPOSE_CONV": WeightPorts(2, 1, 3, 0),
}

MOVING = frozenset(
    {
        "BATCH_TO_SPACE_ND",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "EXPAND_DIMS",
        "GATHER",
        "MAX_POOL_2D",
        "MIRROR_PAD",
        "PACK",
        "PAD",
        "RESHAPE",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TRANSPOSE",
        "UNPACK",
    }
)
"""All operands have one grid, and quantising before is the same as quantising behind."""

AVERAGING = frozenset({"RELU", "RELU6"})
"""All operands have one grid, onto which the result is rounded."""

RESCALING = frozenset({"ADD", "HARD_SWISH", "MEAN", "MUL", "SUB"})
"""Every operand has a grid of its own, and the kernel returns the nearest code.

LEAKY_RELU and RESIZE_BILINEAR have kernels for int8, too, which round more than once.
"""

FIXED_RESULTS = {
    "LOGISTIC": SHARES,
    "SOFTMAX": SHARES,
    "TANH": SIGNED_SHARES,
}
"""The kernel returns this grid and no other."""

SHAPE_ONLY = frozenset({"RANK", "SHAPE", "ZEROS_LIKE"})
"""The values of the operand don't matter."""

INT8_VERSIONS = {
    "ADD": 2,
    "BATCH_TO_SPACE_ND": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "GATHER": 2,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PACK": 2,
    "PAD": 2,
    "RELU": 2,
    "RELU6": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": 2,
    "SOFTMAX": 2,
    "SPACE_TO_BATCH_ND": 2,
    "SPACE_TO_DEPTH": 2,
    "SPLIT": 2,
    "SPLIT_V": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
    "TRANSPOSE_CONV": 2,
    "UNPACK": 2,
}
"""Version of an operator from which on it takes int8; 1 for one that isn't named."""


def kernel_takes(kind: str, scales: Sequence[float], result: float) -> bool:
    """Whether the int8 kernel of `kind` computes with these scales; it aborts on others.

    Args:
        kind: ``"ADD"`` and so on.
        scales: Scale of each float input.
        result: Scale of the result.
    """
    if kind in ("ADD", "SUB"):
        # Both inputs are brought to 20 more bits than the larger of them has.
        return 2 * max(scales) < 2**20 * result
    if kind == "SOFTMAX":
        # Its exponents are fixed-point numbers with 26 bits behind the point.
        return scales[0] * 2**26 > 1
    return True
