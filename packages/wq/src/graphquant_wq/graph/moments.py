"""Means and covariances of what a layer takes and returns, batch by batch, summed in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_wq.graph.sample_runs import SampleRuns

v1 = tf.compat.v1

Float64Array = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class Inputs:
    """What the weights of a layer are multiplied by, in the float graph and in the quantised one.

    Attributes:
        count: Number of rows that this was taken from.
        covariance: Of the quantised graph's rows x, float64 ``[B, K, K]``.
        crossed: Covariance of the float graph's rows with these, float64 ``[B, K, K]``.
    """

    count: int
    covariance: Float64Array
    crossed: Float64Array

    @classmethod
    def joined(cls, parts: Sequence[Inputs]) -> Inputs:
        """The mean of several, by the number of their rows."""
        count = sum(part.count for part in parts)
        return cls(
            count,
            np.sum([part.covariance * (part.count / count) for part in parts], axis=0),
            np.sum([part.crossed * (part.count / count) for part in parts], axis=0),
        )


@attrs.frozen(eq=False)
class InputMoments:
    """Ops that sum the first and second moments of rows about centres that are fed."""

    count: tf.Tensor
    totals: tuple[tf.Tensor, tf.Tensor]
    products: tf.Tensor
    crossed: tf.Tensor
    means: tf.Tensor
    centres: tf.Tensor

    @classmethod
    def of(cls, rows: tf.Tensor, original: tf.Tensor) -> InputMoments:
        """Those of the quantised graph's and the float graph's ``[positions, B, K]``."""
        both = (rows, original)
        centres = v1.placeholder(tf.float32, [2, *rows.shape[1:]])
        apart, before = (tf.transpose(x - centres[i], [1, 0, 2]) for i, x in enumerate(both))
        return cls(
            tf.shape(rows)[0],
            (tf.reduce_sum(apart, 1), tf.reduce_sum(before, 1)),
            tf.matmul(apart, apart, transpose_a=True),
            tf.matmul(before, apart, transpose_a=True),
            tf.stack([tf.reduce_mean(x, 0) for x in both]),
            centres,
        )

    def measured(self, runs: SampleRuns) -> Inputs:
        """The moments on the samples of `runs`.

        The means of the first batch are subtracted first, so that float32 is enough for a sum of
        squares, whatever the means.
        """
        centres = runs.run_first(self.means)
        wanted = (self.count, self.totals, self.products, self.crossed)
        sums: list[Any] = [0, 0.0, 0.0, 0.0, 0.0]
        for count, totals, products, crossed in runs.run(wanted, {self.centres: centres}):
            added = (int(count), *(x.astype(np.float64) for x in (*totals, products, crossed)))
            sums = [total + more for total, more in zip(sums, added, strict=True)]
        count, *rest = sums
        mean, before, products, crossed = (total / count for total in rest)
        return Inputs(
            count,
            products - mean[:, :, None] * mean[:, None, :],
            crossed - before[:, :, None] * mean[:, None, :],
        )


@attrs.frozen(eq=False)
class Moments:
    """Mean and variance of each channel of a layer's results, float64 ``[C]``."""

    count: int
    mean: Float64Array
    variance: Float64Array


@attrs.frozen(eq=False)
class ResultMoments:
    """Ops that take the mean and the variance of each channel of a result, the last axis."""

    count: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor

    @classmethod
    def of(cls, result: tf.Tensor, channels: int) -> ResultMoments:
        """Those of a tensor ``[..., channels]``; ops are added to the graph."""
        rows = tf.reshape(result, [-1, channels])
        mean, variance = tf.nn.moments(rows, [0])
        return cls(tf.shape(rows)[0], mean, variance)

    @property
    def tensors(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What a run returns for `joined`."""
        return self.count, self.mean, self.variance

    def measured(self, runs: SampleRuns) -> Moments:
        """The moments on the samples of `runs`."""
        return joined_moments(list(runs.run(self.tensors)))


def joined_moments(parts: list[tuple[int, npt.ArrayLike, npt.ArrayLike]]) -> Moments:
    """Those of all rows, from (count, mean, variance) of each part of them."""
    counts = np.array([count for count, _, _ in parts], np.float64)[:, None]
    means = np.array([mean for _, mean, _ in parts], np.float64)
    variances = np.array([variance for _, _, variance in parts], np.float64)
    total = counts.sum()
    mean = (counts * means).sum(axis=0) / total
    with np.errstate(invalid="ignore"):  # infinity minus infinity: the caller says whose it is
        variance = (counts * (variances + np.square(means - mean))).sum(axis=0) / total
    return Moments(int(total), mean, variance)
