"""Means and covariances of what a layer takes and returns, batch by batch, summed in float64."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_wq.graph.sample_runs import SampleRuns

v1 = tf.compat.v1

Float64Array = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class Moments:
    """Mean and spread of a layer's inputs or results.

    Attributes:
        count: Number of rows that they were taken from.
        mean: float64 ``[B, K]`` of inputs, ``[C]`` of results.
        spread: Covariance of inputs, float64 ``[B, K, K]``; variance of results, ``[C]``.
    """

    count: int
    mean: Float64Array
    spread: Float64Array


@attrs.frozen(eq=False)
class InputMoments:
    """Ops that sum the first and second moments of `rows` about a centre that is fed."""

    count: tf.Tensor
    total: tf.Tensor
    products: tf.Tensor
    mean: tf.Tensor
    centre: tf.Tensor

    @classmethod
    def of(cls, rows: tf.Tensor) -> InputMoments:
        """Those of ``[positions, B, K]``; ops are added to the graph."""
        blocks, size = rows.shape[1:]
        centre = v1.placeholder(tf.float32, [blocks, size])
        apart = tf.transpose(rows - centre, [1, 0, 2])
        return cls(
            tf.shape(rows)[0],
            tf.reduce_sum(apart, 1),
            tf.matmul(apart, apart, transpose_a=True),
            tf.reduce_mean(rows, 0),
            centre,
        )

    def measured(self, runs: SampleRuns) -> Moments:
        """The moments on the samples of `runs`.

        The mean of the first batch is subtracted first, so that float32 is enough for a sum of
        squares, whatever the mean.
        """
        centre = runs.run_first(self.mean)
        count, total, products = 0, np.zeros(()), np.zeros(())
        wanted = (self.count, self.total, self.products)
        for rows, added, squares in runs.run(wanted, {self.centre: centre}):
            count += int(rows)
            total = total + added.astype(np.float64)
            products = products + squares.astype(np.float64)
        apart = total / count
        covariance = products / count - apart[:, :, None] * apart[:, None, :]
        return Moments(count, centre + apart, covariance)


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
        spread = (counts * (variances + np.square(means - mean))).sum(axis=0) / total
    return Moments(int(total), mean, spread)
