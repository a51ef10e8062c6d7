"""How near what is being trained is to the float model, on samples that it doesn't learn from."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tensorflow as tf

from graphquant_tune.samples import Samples
from graphquant_tune.teacher import Teacher

MOST = 512
"""Samples that are judged by at once."""


class Judge(Protocol):
    """Tells how good the values of a training are.

    Attributes:
        batches: How many batches it runs for that.
    """

    batches: int

    def loss(self) -> float:
        """Distance from the float model; the least is best."""
        ...


class MeanLoss:
    """Mean of the training's own loss over samples.

    Args:
        session: The session of the training.
        loss: The loss, float32 scalar.
        teacher: Gives the answers that the loss needs.
        judges: Samples that nothing is learned from.
    """

    def __init__(
        self, session: tf.compat.v1.Session, loss: tf.Tensor, teacher: Teacher, judges: Samples
    ) -> None:
        self._session, self._loss = session, loss
        self._teacher, self._judges = teacher, judges
        self.batches = sum(1 for _ in judges.batches(MOST))

    def loss(self) -> float:
        """The mean."""
        found = [
            self._session.run(self._loss, self._teacher.with_answers(feeds))
            for feeds in self._judges.batches(MOST)
        ]
        return float(np.mean(found))
