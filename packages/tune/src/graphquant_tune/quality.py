"""How near a model's answers are to those of the float model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.distillation import (
    LOGITS,
    SCORES,
    Output,
    check_answers,
    describe_outputs,
    distance,
)
from graphquant_core.graph.frozen import cpu_session, import_frozen
from graphquant_tune.samples import Samples

COMPARED_SAMPLES = 1024
"""Samples that a comparison runs on."""


@attrs.frozen
class Quality:
    """How near a model's answers are to those of the float model.

    Attributes:
        distance: Mean over the outputs of `graphquant_core.graph.distillation.distance`; 0 is
            equal, infinity for answers that are NaN or infinite.
        sqnr: 10 log10(Σ t² / Σ (t - s)²) of the worst output, in dB; -infinity for such answers.
        agreement: Share of rows with the same largest class; ``None`` without class scores.
    """

    distance: float
    sqnr: float
    agreement: float | None


class Measures:
    """The tensors that a quality is made of, for pairs of answers in one graph.

    Args:
        outputs: What the outputs are.
        teacher: The float model's answer for each.
        student: The other's.

    Raises:
        ConfigError: There is no output of floats.
    """

    def __init__(
        self, outputs: Sequence[Output], teacher: Sequence[tf.Tensor], student: Sequence[tf.Tensor]
    ) -> None:
        if not outputs:
            raise ConfigError("the model has no output of floats, which could be compared")
        rows = list(zip(outputs, teacher, student, strict=True))
        self.distances = [distance(output, t, s) for output, t, s in rows]
        powers = [
            (tf.reduce_sum(tf.square(t)), tf.reduce_sum(tf.square(t - s))) for _, t, s in rows
        ]
        same = [
            tf.reduce_mean(tf.cast(tf.equal(tf.argmax(t, -1), tf.argmax(s, -1)), tf.float32))
            for output, t, s in rows
            if output.kind in (SCORES, LOGITS)
        ]
        self.fetched = (self.distances, powers, same)

    def quality(self, found: Sequence[Any]) -> Quality:
        """The quality over batches, of what a session gave for `fetched` with each."""
        powers = np.array([row[1] for row in found], np.float64).sum(axis=0)
        ratios = [_decibels(power, error) for power, error in powers.reshape(-1, 2)]
        same = np.mean([row[2] for row in found], axis=0)
        agreement = float(same.min()) if self.fetched[2] else None
        return Quality(mean_distance([row[0] for row in found]), min(ratios), agreement)


def mean_distance(found: Sequence[Any]) -> float:
    """The mean; infinite where a model answers NaN or infinity, so that it is never the nearest.

    A layer in front of a logarithm or a division does that when its small results round to 0.
    """
    mean = float(np.mean(found))
    return mean if math.isfinite(mean) else math.inf


def _decibels(power: float, error: float) -> float:
    """10 log10(power / error); -inf where the answers aren't finite."""
    if not math.isfinite(error):
        return -math.inf
    return math.inf if error == 0 else 10 * math.log10(max(power, 1e-300) / error)


class FloatAnswers:
    """The answers of the float model, computed once, that others are compared with.

    Args:
        model: The float graph.
        outputs: Names of the ops that are its outputs.
        samples: Samples of its inputs.
        most: How many of them are run.

    Raises:
        NonFiniteError: It answers NaN or infinity; names the output.
    """

    def __init__(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        samples: Samples,
        most: int = COMPARED_SAMPLES,
    ) -> None:
        graph = import_frozen(model)
        self._outputs = describe_outputs(graph, outputs)
        self._samples, self._most = samples, most
        compared = [graph.get_tensor_by_name(output.compared) for output in self._outputs]
        with cpu_session(graph) as session:
            self._answers = [session.run(compared, feeds) for feeds in samples.batches(most)]
        for answers in self._answers:
            check_answers(self._outputs, answers)

    def quality(self, other: tf.compat.v1.GraphDef) -> Quality:
        """That of `other`, whose inputs and outputs have the same names.

        Raises:
            ConfigError: The model has no output of floats.
        """
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(other, name="")
            student = [_compared(graph, output) for output in self._outputs]
            teacher = [tf.compat.v1.placeholder(tf.float32, tensor.shape) for tensor in student]
            measures = Measures(self._outputs, teacher, student)
        found = []
        with cpu_session(graph) as session:
            batches = self._samples.batches(self._most)
            for feeds, values in zip(batches, self._answers, strict=True):
                answers = dict(zip(teacher, values, strict=True))
                found.append(session.run(measures.fetched, {**feeds, **answers}))
        return measures.quality(found)


def _compared(graph: tf.Graph, output: Output) -> tf.Tensor:
    """What stands for `output` in `graph`: there, too, what a softmax takes, whatever its name."""
    (found,) = describe_outputs(graph, [output.name])
    return graph.get_tensor_by_name(found.compared)
