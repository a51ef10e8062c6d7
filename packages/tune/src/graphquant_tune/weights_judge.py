"""How near weights in training are to the float model once they are frozen."""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf

from graphquant_core.graph.frozen import cpu_session
from graphquant_tune.assignment import Assignment
from graphquant_tune.judge import MeanLoss
from graphquant_tune.norm_statistics import batch_statistics, folded_values
from graphquant_tune.samples import Samples
from graphquant_tune.student import Student, build_student
from graphquant_tune.teacher import Teacher

RE_ESTIMATED = 1024
"""Samples of a look that statistics of batch norms are estimated on."""


class WeightsJudge:
    """Mean distance over samples, of the model that the training would give if it ended now.

    The loss of the training isn't that: its batch norms take the statistics of each batch. Use it
    as a context, which holds sessions.

    Args:
        student: What is trained; the layers take weights that lie on their grids.
        session: The session of the training.
        layers: Names of the layers that are quantised.
        samples: What is learned from: statistics are of them, as they are in the end.
        judges: Samples that nothing is learned from.
    """

    def __init__(
        self,
        student: Student,
        session: tf.compat.v1.Session,
        layers: Collection[str],
        samples: Samples,
        judges: Samples,
    ) -> None:
        self._student, self._session, self._samples = student, session, samples
        self._on_grid = student.quantised_weights(layers)
        frozen = build_student(student.model, layers, {})
        self._names = list(frozen.variables)
        self._assignment = Assignment(frozen.variables.values())
        self._teacher = Teacher(student.model, frozen.answers)
        self._frozen = cpu_session(frozen.graph)
        self._mean = MeanLoss(self._frozen, frozen.loss, self._teacher, judges)
        self.batches = self._mean.batches
        if student.norms:
            self.batches += sum(1 for _ in samples.batches(RE_ESTIMATED))

    def __enter__(self) -> WeightsJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self._teacher.__exit__()
        self._frozen.close()

    def loss(self) -> float:
        """The mean distance."""
        found = batch_statistics(self._student, self._session, self._samples, RE_ESTIMATED)
        values = self._session.run({**self._student.variables, **self._on_grid})
        folded = folded_values(self._student, values, found)
        self._assignment.run(self._frozen, [folded[name] for name in self._names])
        return self._mean.loss()
