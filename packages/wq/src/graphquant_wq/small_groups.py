"""Layers whose few weights are kept at 8 bits, where that costs hardly any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

WIDE_BITS = 8

SMALL_GROUP = 32
"""Weights of an output channel, at most, of a layer that is kept at 8 bits."""

ALLOWED_GROWTH = 0.1
"""Share by which the weights may grow in all."""


@attrs.frozen
class SizedWeight:
    """How large a weight is.

    Attributes:
        name: Its name.
        size: Number of weights.
        group: How many of them share a scale.
        bits: Bits of each, as far as they are given.
        free: Whether they may be others.
    """

    name: str
    size: int
    group: int
    bits: int
    free: bool = True


def kept_wide(weights: Sequence[SizedWeight]) -> Mapping[str, int]:
    """8 bits for those weights, by name, with at most 32 to a group, the smallest first.

    As many as make all weights together at most a tenth larger.
    """
    left = ALLOWED_GROWTH * sum(weight.size * weight.bits for weight in weights)
    kept: dict[str, int] = {}
    for weight in sorted(weights, key=lambda weight: (weight.size, weight.name)):
        growth = weight.size * (WIDE_BITS - weight.bits)
        if weight.free and growth > 0 and weight.group <= SMALL_GROUP and growth <= left:
            kept[weight.name] = WIDE_BITS
            left -= growth
    return kept
