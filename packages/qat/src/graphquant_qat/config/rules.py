"""What a configuration may say, whatever its file format: each rule is one sentence."""

from __future__ import annotations

import math

import numpy as np

from graphquant_core.layer import Layer
from graphquant_core.registry import load_registry

DST_TYPE = "INT8"
VERSION = 1
LARGEST_BATCH_NUM = 2**31 - 1

_PRUNING = "is about pruning, which is not part of quantisation-aware training here; remove it"
_PRECISION_MODE = "is not supported: scales are used as float32; remove it"

UNSUPPORTED = {
    "fakequant_precision_mode": _PRECISION_MODE,
    "prune_config": _PRUNING,
    "regular_prune_config": _PRUNING,
    "regular_prune_enable": _PRUNING,
    "regular_prune_skip_layers": _PRUNING,
    "regular_prune_skip_types": _PRUNING,
}
"""Keys and fields that AMCT knows and that are refused, each with the rest of the sentence."""


def channel_wise_allowed(layer: Layer) -> bool:
    """Whether the weight of `layer` can have one scale for each output channel."""
    return layer.weight_port is not None and not layer.one_weight_scale


def channel_wise_refusal(layer: Layer) -> str:
    """Why `layer` can't be quantised channel-wise; only for a layer that indeed can't."""
    if layer.weight_port is None:
        return f"must be false: {layer.op_type} has no weight"
    return f"must be false: {layer.op_type} has one scale for its whole weight"


def activation_algorithms() -> tuple[str, ...]:
    """Names of the activation quantisers: the built-in one, then those of the plugins."""
    return tuple(dict.fromkeys(["ulq_quantize", *load_registry().activation_quantizers]))


def weight_algorithms() -> tuple[str, ...]:
    """Names of the weight quantisers: the two built-in ones, then those of the plugins."""
    built_in = ["arq_retrain", "ulq_retrain"]
    return tuple(dict.fromkeys([*built_in, *load_registry().weight_quantizers]))


def batch_num_refusal(value: int) -> str:
    """Why `value` can't be a number of batches, or ``''``."""
    if 1 <= value <= LARGEST_BATCH_NUM:
        return ""
    return f"must be greater than zero and at most {LARGEST_BATCH_NUM}"


def clip_refusal(name: str, value: float) -> str:
    """Why `value` can't be the clip called `name`, ``clip_max`` or ``clip_min``, or ``''``."""
    if not math.isfinite(value):
        return "must be finite"
    if name == "clip_max" and value <= 0:
        return "must be greater than zero"
    if name == "clip_min" and value >= 0:
        return "must be less than zero"
    limits = np.finfo(np.float32)
    if not float(limits.tiny) <= abs(value) <= float(limits.max):
        return f"must be from {limits.tiny:.3g} to {limits.max:.3g} in size, to fit into float32"
    return ""
