"""The weight strategies, registered through the hooks of graphquant-core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.hookspecs import hookimpl

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tensorflow as tf

    from graphquant_core.grid import Grid
    from graphquant_core.quantizers import FakeQuantized, QuantizerRequest, WeightQuantizer


class MaxAbs:
    """mnncompress' formula: symmetric, by the live largest weight of each group."""

    name = "max_abs"

    def build(self, weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """See `graphquant_wq.strategies.live_range.build_max_abs`."""
        from graphquant_wq.strategies.live_range import build_max_abs

        return build_max_abs(weight, request)


class LiveRange:
    """The live range of each group, of weights that are clipped once before training."""

    name = "live_range"
    asymmetric = True

    def build(self, weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """See `graphquant_wq.strategies.live_range`."""
        from graphquant_wq.strategies.live_range import build_max_abs, build_min_max

        build = build_max_abs if request.grid.narrow else build_min_max
        return build(weight, request)

    def clip(self, rows: npt.NDArray[np.float32], grid: Grid) -> npt.NDArray[np.float32]:
        """See `graphquant_wq.mse_range.clip_to_start`."""
        from graphquant_wq.mse_range import clip_to_start

        return clip_to_start(rows, grid)


class LearnedScale:
    """A trained scale for each group, and a trained zero point when asymmetric."""

    name = "learned_scale"
    asymmetric = True

    def build(self, weight: tf.Tensor, request: QuantizerRequest) -> FakeQuantized:
        """See `graphquant_wq.strategies.learned_scale`."""
        from graphquant_wq.strategies import learned_scale

        if request.grid.narrow:
            return learned_scale.build_learned_symmetric(weight, request)
        return learned_scale.build_learned_asymmetric(weight, request)

    def variables(self, grid: Grid) -> tuple[str, ...]:
        """See `graphquant_wq.strategies.learned_scale`."""
        from graphquant_wq.strategies.learned_scale import LOG_SCALE, ZERO_POINT

        return (LOG_SCALE,) if grid.narrow else (LOG_SCALE, ZERO_POINT)

    def start(
        self, rows: npt.NDArray[np.float32], grid: Grid
    ) -> dict[str, npt.NDArray[np.float32]]:
        """See `graphquant_wq.strategies.learned_scale.learned_start`."""
        from graphquant_wq.strategies.learned_scale import learned_start

        return learned_start(rows, grid)


@hookimpl
def graphquant_weight_quantizers() -> list[WeightQuantizer]:
    """``max_abs``, ``live_range`` and ``learned_scale``."""
    return [MaxAbs(), LiveRange(), LearnedScale()]
