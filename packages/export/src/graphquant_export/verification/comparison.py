"""How far two arrays are apart, in steps of a grid, added up batch by batch."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import ModelFileError

Array = npt.NDArray[Any]

ARTIFACT_STEP = "artifact"
RANGE_STEP = "range / 255"
STEPS_OF_RANGE = 255

FEW = 1e-4
"""Share of the values that `Comparison.largest_but_few` leaves out."""
_BINS = 8  # of distances, from one power of two to the next


@attrs.frozen
class Comparison:
    """What a runtime computed beside what it should have.

    Attributes:
        values: Number of values compared.
        step: What the differences are counted in.
        step_source: ``"artifact"``: the step of the artifact's own grid, which a reference that has
            grids, too, is rounded to and whose ends, where they are known, it is clipped to;
            ``"range / 255"``: the artifact is float there, and a step is what a grid of 8 bits over
            the reference's range, 0.0 included, would have.
        largest: Largest absolute difference, in steps.
        mean: Mean absolute difference, in steps.
        sqnr: 10 log10(sum reference² / sum difference²), in dB; ``None`` where it is infinite
            (no difference) or undefined (the reference is 0.0 everywhere).
        not_finite: Values that are NaN or infinite on one side alone, and count nowhere else.
        agreement: Share of rows along the last axis with the same largest value, the first one
            where several are equal; ``None`` when there are no rows of 2 or more.
        rows: Number of such rows.
        largest_but_few: Largest difference, in steps, of all values but the one in 10,000 that are
            farthest off, or up to 9% more; at most 1.0 where that is less than a step.
    """

    values: int
    step: float
    step_source: str
    largest: float
    mean: float
    sqnr: float | None
    not_finite: int
    agreement: float | None
    rows: int = 0
    largest_but_few: float = 0.0


class Comparing:
    """Adds up a `Comparison` from batches.

    Args:
        name: What is compared, for messages.
        step: Step of the artifact's grid; ``None`` when it is float.
        ends: Smallest and largest value on that grid, where they are known.
        on_grid: Whether the reference belongs on that grid. A float model doesn't: what rounding
            its answers costs is a part of the difference.
    """

    def __init__(
        self,
        name: str,
        step: float | None,
        ends: tuple[float, float] | None = None,
        on_grid: bool = True,
    ) -> None:
        self._name = name
        self._step = step
        self._ends = ends
        self._on_grid = on_grid
        self._count = self._not_finite = self._rows = self._same_rows = 0
        self._largest = self._sum = self._noise = self._signal = self._low = self._high = 0.0
        self._far: Counter[int] = Counter()

    def add(self, got: Array, wanted: Array) -> None:
        """Adds a batch: what the runtime returned, and what it should have.

        Raises:
            ModelFileError: Their shapes differ.
        """
        if got.shape != wanted.shape:
            raise ModelFileError(
                f'"{self._name}" has the shape {list(got.shape)} in the artifact; the model gives '
                f"{list(wanted.shape)}"
            )
        self._add_rows(got, wanted)
        got, wanted = got.astype(np.float64), wanted.astype(np.float64)
        finite = np.isfinite(got) & np.isfinite(wanted)
        same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
        self._count += got.size
        self._not_finite += int(np.count_nonzero(~finite & ~same))
        got, wanted = got[finite], wanted[finite]
        if self._step is not None:
            got, wanted = np.rint(got / self._step), self._in_steps(wanted, self._step)
        distance = np.abs(got - wanted)
        self._largest = max(self._largest, float(distance.max(initial=0.0)))
        self._sum += float(distance.sum())
        self._noise += float(np.square(got - wanted).sum())
        self._signal += float(np.square(wanted).sum())
        self._low = min(self._low, float(wanted.min(initial=0.0)))
        self._high = max(self._high, float(wanted.max(initial=0.0)))
        far = distance[distance > self._unit()]
        self._far.update(np.floor(_BINS * np.log2(far)).astype(int).tolist())

    def _in_steps(self, wanted: Array, step: float) -> Array:
        if not self._on_grid:
            return wanted / step
        wanted = np.rint(wanted / step)
        if self._ends is not None:
            low, high = np.rint(np.array(self._ends) / step)
            wanted = wanted.clip(low, high)
        return wanted

    def _add_rows(self, got: Array, wanted: Array) -> None:
        if got.ndim < 2 or got.shape[-1] < 2:
            return
        same = got.argmax(-1) == wanted.argmax(-1)
        self._rows += same.size
        self._same_rows += int(np.count_nonzero(same))

    def _unit(self) -> float:
        """What a step is, so far, in the distances that are added up; it only grows."""
        return 1.0 if self._step else (self._high - self._low) / STEPS_OF_RANGE

    def _largest_but_few(self) -> float:
        left_out = FEW * self._count
        for place in sorted(self._far, reverse=True):
            left_out -= self._far[place]
            if left_out < 0:
                return float(2.0 ** ((place + 1) / _BINS))
        return 0.0

    def result(self) -> Comparison:
        """The comparison of everything that was added."""
        unit = self._unit() or 1.0
        step = self._step or unit
        defined = self._noise > 0 and self._signal > 0
        return Comparison(
            values=self._count,
            step=step,
            step_source=ARTIFACT_STEP if self._step else RANGE_STEP,
            largest=self._largest / unit,
            mean=self._sum / unit / max(self._count, 1),
            sqnr=10 * math.log10(self._signal / self._noise) if defined else None,
            not_finite=self._not_finite,
            agreement=self._same_rows / self._rows if self._rows else None,
            rows=self._rows,
            largest_but_few=min(max(self._largest_but_few() / unit, 1.0), self._largest / unit),
        )
