"""A weight of a frozen graph, once for all layers that take it, and its grid."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_export.targets.mnn import mnn_quantize
from graphquant_wq.gptq import RoundingTask, gptq
from graphquant_wq.graph.patches import rows_of, weight_of
from graphquant_wq.graph.records import QuantizedWeight
from graphquant_wq.mse_range import best_range, fit_to_best
from graphquant_wq.settings import LayerSettings

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class WeightUnit:
    """A weight that is put on a grid.

    Attributes:
        node: Name of the Const that its layers take.
        layers: Those layers.
        settings: Its grid.
        value: Its float value, as TensorFlow has it.
        factor: What MNN multiplies it by before it forms the groups, ``[out]``; ``None`` where
            that doesn't change a grid.
        keeps_zeros: Whether its zeros stay zero.
    """

    node: str
    layers: list[QuantizedWeight]
    settings: LayerSettings
    value: Float32Array
    factor: Float32Array | None
    keeps_zeros: bool

    @property
    def rows(self) -> Float32Array:
        """The float weights that MNN sees, float32 ``[G, n]``, one group a row."""
        return self.layers[0].folded_rows(self.value, self.factor)

    def nearest(self) -> Float32Array:
        """The weight on its grid of least squared error, each number rounded by itself.

        The ends of the grid are reached, so MNN finds it again.
        """
        return self._stored(fit_to_best(self.rows, self.settings.grid))

    def task(self) -> RoundingTask:
        """What GPTQ rounds: the weights that MNN sees, by output channel."""
        rows, grid = self.rows, self.settings.grid
        low, high = best_range(rows, grid)
        fitted = fit_to_best(rows, grid)
        pinned = np.full(rows.shape, np.nan)
        groups = np.arange(len(rows))
        ends = (
            [np.abs(fitted).argmax(axis=1)]
            if grid.narrow
            else [fitted.argmin(axis=1), fitted.argmax(axis=1)]
        )
        for places in ends:
            pinned[groups, places] = fitted[groups, places]
        if self.keeps_zeros:
            pinned[rows == 0] = 0
        step = (high.astype(np.float64) - low) / grid.levels
        arrays = [
            np.broadcast_to(x, rows.shape).astype(np.float64)
            for x in (rows, low[:, None], step[:, None], pinned)
        ]
        weights, lows, steps, pins = (self._by_channel(x) for x in arrays)
        return RoundingTask(weights, lows, steps, grid.levels, pins)

    def moved(self, rows: Float64Array) -> WeightUnit:
        """The unit with the weights `rows`, by output channel, but for zeros that stay."""
        value = weight_of(self.layers[0].layer, rows).astype(np.float32)
        if self.keeps_zeros:
            value = np.where(self.value == 0, np.float32(0), value)
        return attrs.evolve(self, value=value)

    def rounded_for(self, covariance: Float64Array) -> Float32Array:
        """The weight on its grid by GPTQ, for inputs with `covariance`, ``[B, K, K]``."""
        return self.on_grid(gptq(self.task(), covariance))

    def on_grid(self, values: Float64Array) -> Float32Array:
        """The weight whose `task` was rounded to `values`."""
        weight = weight_of(self.layers[0].layer, values)
        return self._stored(self.layers[0].grouping.rows(weight).astype(np.float32))

    def by_channel(self, weight: Float32Array) -> Float64Array:
        """`weight` as its layers take it, by output channel: float64 ``[B, R, K]``."""
        return rows_of(self.layers[0].layer, weight.astype(np.float64))

    def scaled(self, weight: Float32Array, by: Float64Array) -> Float32Array:
        """`weight`, which is on its grid, with each output channel times `by`, ``[C]``, above 0."""
        rows = self.by_channel(weight)
        scaled = weight_of(self.layers[0].layer, rows * by.reshape(rows.shape[0], rows.shape[1], 1))
        return self._stored(self.layers[0].folded_rows(scaled.astype(np.float32), self.factor))

    def _by_channel(self, rows: Float64Array) -> Float64Array:
        return rows_of(self.layers[0].layer, self.layers[0].grouping.weight(rows))

    def _stored(self, rows: Float32Array) -> Float32Array:
        stored = mnn_quantize(rows, self.settings.bits, self.settings.asymmetric)
        return self.layers[0].unfolded(stored.values(), self.factor)
