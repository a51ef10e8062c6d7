"""Rows of class scores whose first place changed because two scores nearly tie."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphquant_export.verification.comparison import STEPS_OF_RANGE
from graphquant_export.verification.limits import Limits

Array = npt.NDArray[Any]

_ROUNDING = 1e-9


class _Flips(NamedTuple):
    """Rows that give another class, one after the other.

    Attributes:
        first: Their class in the reference.
        taken: Their class in the artifact.
        margin: How far the reference's score of `taken` is below that of `first`.
        norm: Root of the sum of the squares of these two scores.
    """

    first: Array
    taken: Array
    margin: Array
    norm: Array


class NearTies:
    """Counts the rows to which a difference within the limits of outputs was enough to flip them.

    With t the limit `mean` in steps of the reference's range / 255, or the limit `own_mean` in
    steps of the artifact's grid where that is more, a row whose class is b in the artifact and a in
    the reference is a near tie where

    1. its margin, ref_a - ref_b, is at most what two values make up that differ by t, 2 t, or that
       are left an SQNR of `sqnr`: sqrt(2) 10^(-sqnr / 20) sqrt(ref_a² + ref_b²);
    2. neither class is off systematically: over all rows, the mean of its differences, and the part
       of them that is proportional to its scores (its root mean square), are at most t, or
       10^(-sqnr / 20) of the root mean square of its scores;
    3. the two are not exchanged: of the rows that are either's in the reference, those that go from
       one to the other are no more beyond those that stay than chance makes them where both are as
       likely, go - stay <= 2 sqrt(go + stay).

    So no artifact is excused for being far off: margins are the reference's, and what may close
    them is the limits'.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._share = 10 ** (-limits.sqnr / 20)
        self._rows = 0
        self._low = self._high = 0.0
        self._kept: Array = np.zeros(0)
        self._sums: Array = np.zeros((0, 0))
        self._flips: list[_Flips] = []

    def add(self, got: Array, wanted: Array) -> None:
        """Adds a batch: scores of the artifact and of the reference, classes on the last axis."""
        if got.ndim < 2 or got.shape[-1] < 2:
            return
        classes = got.shape[-1]
        got, wanted = (rows.reshape(-1, classes).astype(np.float64) for rows in (got, wanted))
        taken, first = got.argmax(-1), wanted.argmax(-1)
        with np.errstate(invalid="ignore"):  # what isn't finite excuses nothing
            off = got - wanted
            sums = np.stack([off.sum(0), (off * wanted).sum(0), np.square(wanted).sum(0)])
            self._sums = sums + (self._sums if self._rows else 0)
        finite = wanted[np.isfinite(wanted)]
        self._low = min(self._low, float(finite.min(initial=0.0)))
        self._high = max(self._high, float(finite.max(initial=0.0)))
        kept = np.bincount(first[taken == first], minlength=classes)
        self._kept = kept + (self._kept if self._rows else 0)
        self._rows += len(wanted)
        row = np.flatnonzero(taken != first)
        high, low = wanted[row, first[row]], wanted[row, taken[row]]
        self._flips.append(_Flips(first[row], taken[row], high - low, np.hypot(high, low)))

    def count(self, step: float) -> int:
        """How many rows are near ties.

        Args:
            step: Step of the artifact's grid, or of what stands for one.
        """
        if not self._rows:
            return 0
        flips = _Flips(*(np.concatenate(parts) for parts in zip(*self._flips, strict=True)))
        coarse = self._limits.own_mean * step
        off_by = max(coarse, self._limits.mean * (self._high - self._low) / STEPS_OF_RANGE)
        possible = np.maximum(2 * off_by, np.sqrt(2) * self._share * flips.norm)
        steady = self._steady(off_by)
        near = (flips.margin <= possible * (1 + _ROUNDING)) & steady[flips.first]
        near &= steady[flips.taken] & ~self._exchanged(flips)
        return int(np.count_nonzero(near))

    def _steady(self, off_by: float) -> Array:
        """Which classes are not off systematically by more than `off_by`, or the limit of SQNR."""
        off, along, signal = self._sums
        rms = np.sqrt(signal / self._rows)
        in_proportion = np.abs(along) / np.sqrt(np.maximum(signal, np.finfo(float).tiny))
        systematic = np.maximum(np.abs(off) / self._rows, in_proportion / np.sqrt(self._rows))
        return np.asarray(systematic <= np.maximum(off_by, self._share * rms))

    def _exchanged(self, flips: _Flips) -> Array:
        """Which rows go between two classes that give away more than chance could take."""
        low, high = np.minimum(flips.first, flips.taken), np.maximum(flips.first, flips.taken)
        _, places, counts = np.unique(
            low * len(self._kept) + high, return_inverse=True, return_counts=True
        )
        go, stay = counts[places], self._kept[flips.first] + self._kept[flips.taken]
        return np.asarray(go - stay > 2 * np.sqrt(go + stay))
