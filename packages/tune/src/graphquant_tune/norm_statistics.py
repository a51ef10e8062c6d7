"""What batch norms in training mode become when training is over."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_tune.norms import without_norm
from graphquant_tune.samples import Samples
from graphquant_tune.student import Student

Float32Array = npt.NDArray[np.float32]
Statistics = list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]

RE_ESTIMATED = 4096
"""Samples that statistics are estimated on."""


def batch_statistics(
    student: Student,
    session: tf.compat.v1.Session,
    samples: Samples,
    most: int = RE_ESTIMATED,
) -> Statistics:
    """Mean over batches of each norm's batch mean and variance, as training had them last.

    Args:
        student: The graph that is trained.
        session: The session of the training.
        samples: What was learned from.
        most: How many of them are run.
    """
    fetched = student.statistics()
    sums: Statistics = []
    count = 0
    for feeds in samples.batches(most) if fetched else ():
        found = session.run(fetched, feeds)
        sums = sums or [(np.zeros(m.shape), np.zeros(v.shape)) for m, v in found]
        sums = [(m + one, v + other) for (m, v), (one, other) in zip(sums, found, strict=True)]
        count += 1
    return [(mean / count, variance / count) for mean, variance in sums]


def folded_values(
    student: Student, values: Mapping[str, Float32Array], statistics: Statistics
) -> dict[str, Float32Array]:
    """Weights and biases of the folded model, norms in them again, by their constants' names.

    Args:
        student: The graph that was trained.
        values: Values of its variables, by the names of the constants.
        statistics: What `batch_statistics` found.
    """
    result = dict(values)
    for norm, (mean, variance) in zip(student.norms, statistics, strict=True):
        weight, bias = norm.layer.weight, norm.layer.bias
        assert bias is not None
        gamma, beta = result.pop(norm.gamma), result.pop(norm.beta)
        result[weight], result[bias] = without_norm(
            norm, result[weight], gamma, beta, mean, variance
        )
    return result
