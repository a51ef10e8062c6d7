"""How far an artifact may be from what it was made of."""

from __future__ import annotations

import attrs

from graphquant_export.verification.comparison import Comparison


@attrs.frozen
class Limits:
    """Beyond any of these, an artifact doesn't compute what was simulated.

    The defaults let pass what quantised additions, rounding and 8-bit outputs cost, as measured
    on exports of residual networks.

    Attributes:
        agreement: Smallest share of equal top-1 classes of an output.
        mean: Largest mean absolute difference of an output, in steps.
        largest: Largest absolute difference of a layer's own, in steps. An output has no such
            limit: where it is a softmax, one step of its input is many of its own.
        own_mean: Largest mean absolute difference of a layer's own, in steps.
        cut_off: Largest share of a layer's values beyond the ends of the grid of its result.
    """

    agreement: float = 0.99
    mean: float = 4.0
    largest: float = 32.0
    own_mean: float = 0.5
    cut_off: float = 0.1

    def output_problem(self, found: Comparison) -> str | None:
        """What of `found`, an output, is beyond the limits."""
        if found.not_finite:
            return f"{found.not_finite} of its {found.values} values are NaN or infinite"
        if found.agreement is not None and found.agreement < self.agreement:
            return f"its top-1 agreement is {found.agreement:.2%}, below {self.agreement:.2%}"
        if found.mean > self.mean:
            return f"it differs by {found.mean:.3g} steps on average, more than {self.mean:g}"
        return None

    def layer_problem(self, found: Comparison) -> str | None:
        """What of `found`, a layer's own difference, is beyond the limits."""
        if found.not_finite:
            return f"{found.not_finite} of its {found.values} values are NaN or infinite"
        if found.mean > self.own_mean:
            return f"it differs by {found.mean:.3g} steps on average, more than {self.own_mean:g}"
        if found.largest > self.largest:
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
