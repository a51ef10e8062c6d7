"""Histograms of values that come in batches, with the range that a quantiser clips to."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BINS = 64


@attrs.frozen
class Histogram:
    """How often values occurred.

    Attributes:
        low: Left end of the first bin: the smallest value, or the clip range's lower end below it.
        high: Right end of the last bin.
        counts: Values in each of the bins, which are equally wide.
        smallest: The smallest value.
        largest: The largest value.
        clip_low: Lower end of the range that the quantiser can represent.
        clip_high: Upper end of it.
        clipped: Share of values more than half a step outside of that range.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    smallest: float
    largest: float
    clip_low: float
    clip_high: float
    clipped: float


class Counting:
    """Counts values in two passes over the same batches: `see` all of them, then `count` them.

    Args:
        clip_low: Lower end of the range that the quantiser can represent.
        clip_high: Upper end of it.
        step: Step of its grid.
    """

    def __init__(self, clip_low: float, clip_high: float, step: float) -> None:
        self._clip = (clip_low, clip_high)
        self._step = step
        self._smallest, self._largest = np.inf, -np.inf
        self._counts = np.zeros(BINS, np.int64)
        self._clipped = self._values = 0

    def see(self, values: Array) -> None:
        """Takes `values` into the range of the bins."""
        finite = values[np.isfinite(values)]
        self._smallest = min(self._smallest, float(finite.min(initial=np.inf)))
        self._largest = max(self._largest, float(finite.max(initial=-np.inf)))

    def count(self, values: Array) -> None:
        """Counts `values`, which were seen before."""
        # A mask may be infinite: it is clipped, and has no bin.
        self._counts += np.histogram(values[np.isfinite(values)], BINS, self._range())[0]
        self._values += values.size
        low, high = self._clip
        outside = (values < low - self._step / 2) | (values > high + self._step / 2)
        self._clipped += int(np.count_nonzero(outside))

    def _range(self) -> tuple[float, float]:
        low, high = min(self._smallest, self._clip[0]), max(self._largest, self._clip[1])
        return (low, high) if high > low else (low - 0.5, low + 0.5)

    def result(self) -> Histogram:
        """The histogram of everything that was counted."""
        low, high = self._range()
        return Histogram(
            low=low,
            high=high,
            counts=tuple(self._counts.tolist()),
            smallest=self._smallest,
            largest=self._largest,
            clip_low=self._clip[0],
            clip_high=self._clip[1],
            clipped=self._clipped / max(self._values, 1),
        )
