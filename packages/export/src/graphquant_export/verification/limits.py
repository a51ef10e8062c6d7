"""How far an artifact may be from what it was made of."""

from __future__ import annotations

import math

import attrs

from graphquant_export.verification.comparison import Comparison

_ROUNDING = 1e-6


@attrs.frozen
class Limits:
    """Beyond any of these, an artifact doesn't compute what was simulated.

    The defaults let pass what quantised additions, rounding and 8-bit outputs cost, as measured
    on exports of residual networks.

    Attributes:
        agreement: Smallest share of equal top-1 classes of an output that holds class scores, where
            near ties count as equal: rows that a difference within `mean`, `own_mean` and `sqnr` is
            enough for (`NearTies` has the law). Of a few samples, one more may differ: what chance
            does is not held against the artifact. With 1.0 every row counts.
        mean: Largest mean absolute difference of an output, in steps.
        largest: Largest absolute difference of a layer's own, in steps, of all values but one in
            10,000: where many inputs lie exactly between two codes, as silence does behind a
            logarithm, a sum in another order moves all of them. An output has no such limit: where
            it is a softmax, one step of its input is many of its own.
        own_mean: Largest mean absolute difference of a layer's own, in steps.
        cut_off: Largest share of what is taken of a layer's result beyond the ends of its grid.
        sqnr: Smallest SQNR of an output that holds no class scores, in dB, where it differs by more
            than `own_mean` steps on average: below, a step is too coarse a measure of it. Of class
            scores it says which rows are near ties.
        carried: Largest mean absolute difference of any layer's own, in steps, with which the
            difference of an output is held to be that of ties alone: of values that lie between two
            codes, which a deep network makes more of from layer to layer.
    """

    agreement: float = 0.99
    mean: float = 4.0
    largest: float = 32.0
    own_mean: float = 0.5
    cut_off: float = 0.1
    sqnr: float = 25.0
    carried: float = 0.02

    def output_problem(self, found: Comparison, classes: bool, near_ties: int = 0) -> str | None:
        """What of `found`, an output, is beyond the limits.

        Args:
            found: The output beside what it should be.
            classes: Whether it holds class scores.
            near_ties: How many of the rows that differ are near ties.
        """
        if found.not_finite:
            return f"{found.not_finite} of its {found.values} values are NaN or infinite"
        if classes and found.agreement is not None and self._too_few_agree(found, near_ties):
            said = f"its top-1 agreement is {found.agreement:.2%}, below {self.agreement:.2%}"
            differing = found.rows - round(found.agreement * found.rows)
            ties = f"; {near_ties} of the {differing} rows that differ are near ties"
            return said + (ties if near_ties else "")
        if found.mean > self.mean:
            return f"it differs by {found.mean:.3g} steps on average, more than {self.mean:g}"
        faint = found.sqnr is not None and found.sqnr < self.sqnr
        if not classes and faint and found.mean > self.own_mean:
            return f"its SQNR is {found.sqnr:.1f} dB, below {self.sqnr:g} dB"
        return None

    def _too_few_agree(self, found: Comparison, near_ties: int) -> bool:
        """Whether more rows differ than chance explains where the share that may differ is p.

        That is n p + 2 sqrt(n p (1 - p)) + 1 of n rows, none where p is 0: 2 of 32 for p = 1%.
        """
        share = 1 - self.agreement
        differing = (1 - (found.agreement or 0.0)) * found.rows
        if share > 0:
            differing -= near_ties
        chance = 2 * math.sqrt(found.rows * share * (1 - share)) + 1 if share > 0 else 0
        return differing > found.rows * share + chance + _ROUNDING

    def layer_problem(self, found: Comparison) -> str | None:
        """What of `found`, a layer's own difference, is beyond the limits."""
        if found.not_finite:
            return f"{found.not_finite} of its {found.values} values are NaN or infinite"
        if found.mean > self.own_mean:
            return f"it differs by {found.mean:.3g} steps on average, more than {self.own_mean:g}"
        if found.largest_but_few > self.largest:
            return f"it differs by up to {found.largest:.4g} steps, more than {self.largest:g}"
        return None

    def cut_off_problem(self, share: float | None) -> str | None:
        """What is wrong with a grid that cuts off this share of a layer's values."""
        if share is None or share <= self.cut_off:
            return None
        return (
            f"the grid of its result cuts off {share:.1%} of its values, more than "
            f"{self.cut_off:.0%}: give its range on samples that look like these"
        )
