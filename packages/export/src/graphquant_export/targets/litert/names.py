"""Names of the tensors in the file.

A value has the name of its TensorFlow op. What TensorFlow has no op for gets a name with a colon,
which no op has: ``conv:weight``, ``conv:bias``, ``logits:int8``, ``x:float``,
``conv:channels_last`` for the value of an op in NCHW before it is transposed, and ``up:CONV_2D``
for what an operator returns that computes a part of the op ``up``.
"""

from __future__ import annotations

WEIGHT, BIAS, INT8, FLOAT = ":weight", ":bias", ":int8", ":float"
CHANNELS_LAST = ":channels_last"


def weight_name(layer: str) -> str:
    """Name of the weight of `layer`."""
    return layer + WEIGHT


def bias_name(layer: str) -> str:
    """Name of the bias of `layer`."""
    return layer + BIAS


def part_name(node: str, kind: str) -> str:
    """Name of what the operator `kind` returns, one of several in the place of `node`."""
    return f"{node}:{kind}"


def is_part(tensor: str) -> bool:
    """Whether `tensor` is the name of such a part."""
    return tensor.rpartition(":")[2].isupper()


def node_name(tensor: str) -> str:
    """Name of the TensorFlow op whose value `tensor` is."""
    return tensor.removesuffix(INT8).removesuffix(CHANNELS_LAST)
