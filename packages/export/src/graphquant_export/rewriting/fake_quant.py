"""FakeQuant ops in arithmetic: min' + floor((clip(x, min', max') - min') / scale + 0.5) * scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site

Ends = npt.NDArray[np.float32]


def _last(site: Site) -> tf.compat.v1.NodeDef | None:
    ends = _ends(site)
    if ends is None:
        return None
    low, high, scale = nudged(*ends, levels=_levels(site.op))
    first, last = site.constant(low), site.constant(high)
    clipped = site.add("Minimum", site.add("Maximum", site.inputs[0], first), last)
    # A range of no width, whose step is none, has the one value 0.
    steps = site.constant(np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0))
    above = site.add("Mul", site.add("Sub", clipped, first), steps)
    whole = site.add("Floor", site.add("AddV2", above, site.constant(0.5)))
    return site.node("AddV2", site.add("Mul", whole, site.constant(scale)), first)


def nudged(low: Ends, high: Ends, levels: tuple[int, int]) -> tuple[Ends, Ends, Ends]:
    """(smallest value, largest value, scale) of the grid of a range, with zero on it; float32.

    A range without zero is moved until it ends there.

    Args:
        low: Lower end of the range.
        high: Upper end.
        levels: Smallest and largest code.

    Source: FakeQuantWithMinMaxVars of TensorFlow (fake_quant_ops_functor.h, Nudge).
    """
    first, last = np.float32(levels[0]), np.float32(levels[1])
    scale = np.asarray((high - low) / (last - first), np.float32)
    zero = np.floor(first - low / np.where(scale > 0, scale, np.float32(1)) + np.float32(0.5))
    zero = np.asarray(np.clip(zero, first, last), np.float32)
    smallest, largest = (np.asarray((end - zero) * scale, np.float32) for end in (first, last))
    return smallest, largest, scale


def _ends(site: Site) -> tuple[Ends, Ends] | None:
    """The range of the op; ``None`` when it depends on data."""
    if site.op.type == "FakeQuantWithMinMaxArgs":
        found: list[Any] = [site.op.get_attr("min"), site.op.get_attr("max")]
    else:
        found = [site.value(1), site.value(2)]
    if any(end is None for end in found):
        return None
    return np.asarray(found[0], np.float32), np.asarray(found[1], np.float32)


def _levels(op: tf.Operation) -> tuple[int, int]:
    return int(op.get_attr("narrow_range")), 2 ** int(op.get_attr("num_bits")) - 1


FAKE_QUANT = Rule(
    frozenset(
        {
            "FakeQuantWithMinMaxArgs",
            "FakeQuantWithMinMaxVars",
            "FakeQuantWithMinMaxVarsPerChannel",
        }
    ),
    _last,
)
"""Where the range is constant."""
