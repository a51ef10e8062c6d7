"""By what the channels between layers are divided, so that those of small values keep their bits.

An activation has one range for all its channels: one whose values are a hundred times smaller than
another's has two of 256 codes. Dividing each channel by its own size, in the layers that give it,
and multiplying in the weights of those that take it changes nothing in float.

Source: Nagel 2019, Data-free quantization through weight equalization and bias correction
(1906.04721), for scaling across layers; Xiao 2023, SmoothQuant (2211.10438), for the exponent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.layer import Layer
from graphquant_export.post_training.channel_statistics import ChannelStatistics
from graphquant_export.quantized.channel_moves import Numbers

Float64Array = npt.NDArray[np.float64]

EXPONENTS = (0.25, 0.5, 0.75, 1.0)
"""How much of the difference between channels is taken from the activation."""

WORTH = 0.75
"""Share of the noise that has to be left at most: less of a difference is not worth a change."""

LEAST = 1 / 256
"""Share of the range of weights below which a weight counts as that much."""

LARGEST = 2.0**12
"""Between the channels' factors; beyond, a channel is as good as zero on the samples."""


@attrs.frozen(eq=False, slots=False)
class Taker:
    """A layer with what it takes.

    Attributes:
        layer: Its description.
        numbers: Numbers of the channels that it takes.
        weight: Its weight, batch norm folded in.
        statistics: Of what it takes.
        one_scale: Whether its weight has one scale.
    """

    layer: Layer
    numbers: Numbers
    weight: Float64Array = attrs.field(repr=False)
    statistics: ChannelStatistics = attrs.field(repr=False)
    one_scale: bool

    @property
    def finite(self) -> bool:
        """Whether no number of it is NaN or infinite."""
        return bool(np.isfinite(self.weight).all() and np.isfinite(self.statistics.power).all())

    @property
    def depthwise(self) -> bool:
        """Whether each channel has outputs of its own."""
        return self.layer.weight_input_axis in self.layer.weight_channel_axes

    @cached_property
    def by_channel(self) -> Float64Array:
        """The weight as ``[rest, C, outputs]``, of a depthwise layer as ``[rest, C, own]``."""
        axis, axes = self.layer.weight_input_axis or 0, self.layer.weight_channel_axes
        order = [axis, *(other for other in axes if other != axis)]
        rest = [other for other in range(self.weight.ndim) if other not in order]
        count = math.prod(self.weight.shape[other] for other in rest)
        return self.weight.transpose([*rest, *order]).reshape(count, len(self.numbers), -1)

    @cached_property
    def squares(self) -> Float64Array:
        """Sum of the squares of the weights between a channel and an output, ``[C, outputs]``."""
        found: Float64Array = np.square(self.by_channel).sum(axis=0)
        return found

    @cached_property
    def largest(self) -> Float64Array:
        """Largest weight between a channel and an output, ``[C, outputs]``."""
        found: Float64Array = np.abs(self.by_channel).max(axis=0)
        return found

    def summed(self, values: Float64Array) -> Float64Array:
        """Sum over the channels that an output has, of values ``[C, outputs]``."""
        return values if self.depthwise else values.sum(axis=0)

    def range_of_weights(self, largest: Float64Array) -> Float64Array:
        """The largest weight that has the same scale, of the largest ones ``[C, outputs]``."""
        if self.one_scale:
            return np.full((), largest.max())
        return largest if self.depthwise else largest.max(axis=0)


def noise(taker: Taker, factors: Float64Array) -> float:
    """Mean over the outputs of noise / signal, with each channel divided by its factor.

    Both are of what the layer sums: rounding its input to 256 codes adds a twelfth of a squared
    step times the squares of its weights, rounding its weights to 255 likewise.

    Args:
        taker: The layer.
        factors: float64 ``[C]``, positive.
    """
    found = taker.statistics.divided(factors)
    squares = taker.squares * np.square(factors)[:, None]
    power = np.broadcast_to(found.power[:, None], squares.shape)
    step = (max(found.high.max(), 0.0) - min(found.low.min(), 0.0)) / 255
    scale = taker.range_of_weights(taker.largest * factors[:, None]) / 127
    rounded = step**2 * taker.summed(squares)
    rounded = rounded + scale**2 * len(taker.by_channel) * taker.summed(power)
    signal = taker.summed(power * squares)
    live = signal > 0
    return float(np.mean(rounded[live] / signal[live]) / 12) if live.any() else 0.0


def balance_factors(takers: Sequence[Taker], fixed: npt.NDArray[np.bool_]) -> Float64Array:
    """By what each channel is divided: 1 where that is not worth it.

    Args:
        takers: The layers that take channels which can be scaled.
        fixed: By number, whether a channel can't be.

    Returns:
        float64 ``[numbers]``, positive.
    """
    factors = np.ones(len(fixed))
    for members in _connected(takers, fixed):
        before = sum(noise(taker, np.ones(len(taker.numbers))) for taker in members)
        tried = [_factors(members, fixed, exponent) for exponent in EXPONENTS]
        after = [sum(noise(taker, found[taker.numbers]) for taker in members) for found in tried]
        best = int(np.argmin(after))
        if after[best] < WORTH * before:
            numbers = np.unique(np.concatenate([taker.numbers for taker in members]))
            factors[numbers] = tried[best][numbers]
    return factors


def _factors(
    takers: Sequence[Taker], fixed: npt.NDArray[np.bool_], exponent: float
) -> Float64Array:
    """range^exponent / weight^(1 - exponent) of each channel.

    They end as large as the largest that can't be scaled, or as the largest was without one.
    """
    ranges, weights = np.zeros(len(fixed)), np.zeros(len(fixed))
    for taker in takers:
        np.maximum.at(ranges, taker.numbers, taker.statistics.largest)
        whole = taker.range_of_weights(taker.largest)
        share = np.divide(taker.largest, whole, out=np.zeros_like(taker.largest), where=whole > 0)
        np.maximum.at(weights, taker.numbers, share.max(axis=1))
    live = ~fixed & (ranges > 0)
    factors = np.ones(len(fixed))
    if live.any():
        found = ranges[live] ** exponent / np.maximum(weights[live], LEAST) ** (1 - exponent)
        kept = ranges[fixed] if ranges[fixed].any() else ranges[live]
        found *= (ranges[live] / found).max() / kept.max()
        factors[live] = np.clip(found, found.max() / LARGEST, None)
        # Zero on every sample says nothing of a size; such weights shall not be the largest.
        factors[~fixed & (ranges == 0)] = np.median(factors[live])
    return factors


def _connected(takers: Sequence[Taker], fixed: npt.NDArray[np.bool_]) -> list[list[Taker]]:
    """`takers` in groups that have no channel in common which can be scaled."""
    groups: list[tuple[set[int], list[Taker]]] = []
    for taker in takers:
        numbers = set(taker.numbers[~fixed[taker.numbers]].tolist())
        if not numbers:
            continue
        joined = [group for group in groups if group[0] & numbers]
        groups = [group for group in groups if not group[0] & numbers]
        members = [member for _, found in joined for member in found]
        groups.append((numbers.union(*(known for known, _ in joined)), [*members, taker]))
    return [members for _, members in groups]
