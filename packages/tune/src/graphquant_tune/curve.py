"""Size against quality, before training: what fewer bits, or more layers in int8, would cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import attrs

from graphquant_core.listing import listed
from graphquant_tune.allocation import Bits
from graphquant_tune.choose_bits import WeightFiles
from graphquant_tune.compare import Comparison
from graphquant_tune.int8_ranges import Int8Choices
from graphquant_tune.quality import Quality
from graphquant_tune.report import Report

MOST_POINTS = 12
MOST_RECORDS = 6
"""Points of int8, for each of which ranges are estimated anew."""

STAGE = "measuring the curve"
Choice = TypeVar("Choice")


@attrs.frozen
class CurvePoint:
    """One way to quantise the model.

    Attributes:
        bytes: Size of the target's file.
        said: The way, in a few words.
        quality: Beside the float model, without training; of weights alone rounded to the nearest.
        chosen: Whether it is the one that was chosen.
    """

    bytes: int
    said: str
    quality: Quality
    chosen: bool = False


def spread(choices: Sequence[Choice], most: int = MOST_POINTS) -> list[Choice]:
    """At most `most` of `choices`, evenly, the first and the last among them."""
    if len(choices) <= most:
        return list(choices)
    return [choices[round(n * (len(choices) - 1) / (most - 1))] for n in range(most)]


def said_of_bits(bits: Sequence[int]) -> str:
    """``"2 layers at 8 bits, 1 at 4"`` for the bits of layers."""
    counts = [(width, list(bits).count(width)) for width in sorted(set(bits), reverse=True)]
    width, count = counts[0]
    first = f"{count} layer{'s' if count > 1 else ''} at {width} bits"
    return listed([first, *(f"{count} at {width}" for width, count in counts[1:])])


def curve_of_weights(
    files: WeightFiles, comparison: Comparison, chosen: Bits, report: Report
) -> tuple[CurvePoint, ...]:
    """From all layers at 8 bits to all at 2, and the one that was chosen, the largest first.

    Sizes are estimated from the files of one width; that of the chosen one is its file's.
    """

    def point(bits: Bits, size: int, is_chosen: bool) -> CurvePoint:
        quality = comparison.quality(files.widths.values(files.model, bits))
        return CurvePoint(size, said_of_bits(list(bits.values())), quality, is_chosen)

    ways = spread([bits for bits in files.path() if bits != chosen])
    points = []
    for done, bits in enumerate(ways):
        report(STAGE, done, len(ways), "")
        points.append(point(bits, round(files.sizes.estimate(bits)), False))
    points.append(point(chosen, files.measure(chosen), True))
    return tuple(sorted(points, key=lambda one: -one.bytes))


def curve_of_int8(choices: Int8Choices, chosen: int, report: Report) -> tuple[CurvePoint, ...]:
    """From one layer in int8 to all, those that cost least first.

    Args:
        choices: The ways.
        chosen: Number of layers of the one that was chosen.
        report: Hears of progress.
    """
    counts = {*spread(range(1, choices.most + 1), MOST_RECORDS), chosen}
    points = []
    for done, count in enumerate(sorted(counts)):
        report(STAGE, done, len(counts), "")
        said = f"{count} of {choices.most} layers in int8"
        found = CurvePoint(choices.size(count), said, choices.quality(count), count == chosen)
        points.append(found)
    return tuple(points)
