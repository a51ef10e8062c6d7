"""The best that training has been at, told by samples that nothing is learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from graphquant_tune.assignment import Assignment
from graphquant_tune.samples import Samples
from graphquant_tune.teacher import Teacher

LOOKS = 10
"""How often training is looked at, in equal parts of it."""

MOST = 512
"""Samples of a look."""

STEPS_A_BATCH = 4
"""Training steps between two looks, for each batch of a look: they cost it a tenth at most."""


class Best:
    """Keeps the values of variables with which the loss on `judges` was least.

    Few samples are learned by heart: beyond some step answers to others become worse again.

    Args:
        session: The session of the training.
        loss: The loss, float32 scalar.
        variables: What is trained.
        teacher: Gives the answers that the loss needs.
        judges: Samples that nothing is learned from.
    """

    def __init__(
        self,
        session: tf.compat.v1.Session,
        loss: tf.Tensor,
        variables: Sequence[tf.Variable],
        teacher: Teacher,
        judges: Samples,
    ) -> None:
        self._session, self._loss, self._variables = session, loss, list(variables)
        self._teacher, self._judges = teacher, judges
        self._assignment = Assignment(variables)
        self._count = sum(1 for _ in judges.batches(MOST))
        self._least, self._values = math.inf, list[Any]()
        self._part, self._step = 0, 0

    def after_step(self, step: int, share: float) -> None:
        """Looks, when `step` steps and `share` of the training are done and it is time to."""
        part = int(share * LOOKS)
        if part > self._part and step - self._step >= STEPS_A_BATCH * self._count:
            self._part, self._step = part, step
            self.look()

    def look(self) -> bool:
        """Measures the loss, keeps the values if it is the least, and says whether it is."""
        found = [
            self._session.run(self._loss, self._teacher.with_answers(feeds))
            for feeds in self._judges.batches(MOST)
        ]
        loss = float(np.mean(found))
        if loss < self._least:
            self._least, self._values = loss, self._session.run(self._variables)
            return True
        return False

    def restore(self) -> None:
        """Gives the variables the values that were kept, after a last look."""
        if not self.look() and self._values:
            self._assignment.run(self._session, self._values)
