"""Rounding weights one after the other, each making up for the errors of those before: GPTQ."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

DAMPING = 0.01
"""Share of the mean variance of the inputs that is added to each of them."""

COMPENSATION_DAMPING = 0.1
"""The same where the weights themselves are fitted: more would do less, less fits the samples."""

_BLOCK = 128
"""Inputs whose errors are handed on at once to all that follow."""


@attrs.frozen(eq=False)
class RoundingTask:
    """Rows of weights, and the codes that they may take; all arrays float64 ``[B, R, K]``.

    B blocks of rows that take different inputs (the channels of a depthwise convolution, the groups
    of a grouped one), R rows of K weights in each.

    Attributes:
        weights: The weights.
        low: Value of the lowest code of each weight's grid.
        step: Distance of its codes; 0 for a grid with one value.
        levels: Number of its steps.
        pinned: Value that a weight must take; NaN for one that is free.
    """

    weights: Float64Array
    low: Float64Array
    step: Float64Array
    levels: int
    pinned: Float64Array

    def nearest(self) -> Float64Array:
        """Each weight rounded by itself."""
        return _nearest(self.weights, self.low, self.step, self.levels, self.pinned)


def compensated(
    weights: Float64Array, crossed: Float64Array, covariance: Float64Array
) -> Float64Array:
    """The weights v, ``[B, R, K]``, with which quantised inputs give what float ones gave.

    v x is nearest to `weights` z in squared error, but for a damping that keeps v near `weights`:
    v = w (Z + d) (C + d)^-1.

    Args:
        weights: w, float64 ``[B, R, K]``.
        crossed: Z, the covariance of the float inputs z with the quantised inputs x, ``[B, K, K]``.
        covariance: C, that of the quantised inputs.
    """
    damping = _damping(covariance, COMPENSATION_DAMPING)
    right = weights @ (crossed + damping)
    found = np.linalg.solve(covariance + damping, right.transpose(0, 2, 1))
    return np.asarray(found.transpose(0, 2, 1))


def gptq(task: RoundingTask, covariance: Float64Array) -> Float64Array:
    """Values on the grids, ``[B, R, K]``, that nearly minimise (q - w) C (q - w)' of each row.

    The inputs with the largest variance come first; the error of each weight is handed on to those
    that follow, by the Cholesky factor of the inverse of C + damping. A row that comes out worse
    than rounded to the nearest is rounded to the nearest.

    Args:
        task: The weights and their grids.
        covariance: C, float64 ``[B, K, K]``: of the inputs, of which some must vary.

    Source: Frantar 2022 (GPTQ, 2210.17323), with the centred second moments, because the mean of
        the error goes into the bias.
    """
    variance = np.einsum("bkk->bk", covariance)
    damped = covariance + _damping(covariance, DAMPING)
    order = np.argsort(-variance, axis=1, kind="stable")
    blocks = np.arange(len(order))[:, None]
    sorted_ = damped[blocks[:, :, None], order[:, :, None], order[:, None, :]]
    factor = np.linalg.cholesky(np.linalg.inv(sorted_)).transpose(0, 2, 1)
    arrays = (task.weights, task.low, task.step, task.pinned)
    weights, low, step, pinned = (np.take_along_axis(x, order[:, None], 2) for x in arrays)
    found = _rounded_in_order(RoundingTask(weights, low, step, task.levels, pinned), factor)
    values = np.empty_like(found)
    np.put_along_axis(values, np.broadcast_to(order[:, None], found.shape), found, 2)
    nearest = task.nearest()
    better = errors(values - task.weights, covariance) < errors(nearest - task.weights, covariance)
    return np.where(better[:, :, None], values, nearest)


def errors(difference: Float64Array, covariance: Float64Array) -> Float64Array:
    """d C d' of each row d of `difference`, ``[B, R]``: the variance that it adds to the output."""
    found: Float64Array = np.einsum("brk,brk->br", difference @ covariance, difference)
    return found


def _damping(covariance: Float64Array, share: float) -> Float64Array:
    mean = np.einsum("bkk->bk", covariance).mean(axis=1)
    added = share * np.where(mean > 0, mean, 1)
    return np.asarray(added[:, None, None] * np.eye(covariance.shape[-1]))


def _rounded_in_order(task: RoundingTask, factor: Float64Array) -> Float64Array:
    """`task` rounded from the first weight to the last.

    `factor` is upper triangular, ``[B, K, K]``.
    """
    left, found = task.weights.copy(), np.empty_like(task.weights)
    size = left.shape[2]
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        handed = np.empty((*left.shape[:2], stop - start))
        for k in range(start, stop):
            column = left[:, :, k]
            found[:, :, k] = _nearest(
                column, task.low[:, :, k], task.step[:, :, k], task.levels, task.pinned[:, :, k]
            )
            error = (column - found[:, :, k]) / factor[:, k, k, None]
            left[:, :, k:stop] -= error[:, :, None] * factor[:, None, k, k:stop]
            handed[:, :, k - start] = error
        left[:, :, stop:] -= handed @ factor[:, start:stop, stop:]
    return found


def _nearest(
    weights: Float64Array,
    low: Float64Array,
    step: Float64Array,
    levels: int,
    pinned: Float64Array,
) -> Float64Array:
    codes = np.rint((weights - low) / np.where(step > 0, step, 1))
    values = low + np.clip(codes, 0, levels) * step
    return np.where(np.isnan(pinned), values, pinned)
