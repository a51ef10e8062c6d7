"""Bits of each layer within a size: what is given up first costs least for each byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from graphquant_tune.layer_costs import LayerSensitivity

Bits = dict[str, int]
Choice = TypeVar("Choice")


def allocate_path(found: Sequence[LayerSensitivity], widths: Sequence[int]) -> list[Bits]:
    """Allocations from all layers at the widest to all at the narrowest, a step at a time.

    Each step takes the layer one width down whose distance grows least for each weight bit that
    is saved. Distances of several layers are taken to add up; infinite ones are given up last.

    Args:
        found: What each layer costs at each width.
        widths: The widths, the widest first.
    """
    bits = {layer.name: widths[0] for layer in found}
    path = [dict(bits)]
    while True:
        steps = [step for layer in found if (step := _next(layer, bits[layer.name], widths))]
        if not steps:
            return path
        _, name, narrower = min(steps)
        bits[name] = narrower
        path.append(dict(bits))


def _next(
    layer: LayerSensitivity, bits: int, widths: Sequence[int]
) -> tuple[float, str, int] | None:
    place = widths.index(bits) + 1
    if place == len(widths):
        return None
    narrower = widths[place]
    now = layer.distances[bits]
    # A layer whose results aren't finite any more has nothing left to lose.
    cost = max(layer.distances[narrower] - now, 0.0) if math.isfinite(now) else 0.0
    return cost / (layer.weights * (bits - narrower)), layer.name, narrower


def first_that(path: Sequence[Choice], holds: Callable[[Choice], bool]) -> Choice | None:
    """The first of `path` for which `holds` is true, which is so for all behind it; else None."""
    low, high = 0, len(path)
    while low < high:
        middle = (low + high) // 2
        if holds(path[middle]):
            high = middle
        else:
            low = middle + 1
    return path[low] if low < len(path) else None
