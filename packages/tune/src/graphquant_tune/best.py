"""The best that training has been at, told by samples that nothing is learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from graphquant_tune.assignment import Assignment
from graphquant_tune.judge import Judge

LOOKS = 10
"""How often training is looked at, in equal parts of it."""

STEPS_A_BATCH = 4
"""Training steps between two looks, for each batch of a look: they cost it a tenth at most."""


class Best:
    """Keeps the values of variables with which the loss that `judge` finds was least.

    Few samples are learned by heart: beyond some step answers to others become worse again.

    Args:
        session: The session of the training.
        variables: What is trained.
        judge: Tells how good they are.
    """

    def __init__(
        self, session: tf.compat.v1.Session, variables: Sequence[tf.Variable], judge: Judge
    ) -> None:
        self._session, self._variables, self._judge = session, list(variables), judge
        self._assignment = Assignment(variables)
        self._least, self._values = math.inf, list[Any]()
        self._part, self._step = 0, 0

    def after_step(self, step: int, share: float) -> None:
        """Looks, when `step` steps and `share` of the training are done and it is time to."""
        part = int(share * LOOKS)
        if part > self._part and step - self._step >= STEPS_A_BATCH * self._judge.batches:
            self._part, self._step = part, step
            self.look()

    def look(self) -> bool:
        """Measures the loss, keeps the values if it is the least, and says whether it is."""
        loss = self._judge.loss()
        if loss < self._least:
            self._least, self._values = loss, self._session.run(self._variables)
            return True
        return False

    def restore(self) -> None:
        """Gives the variables the values that were kept, after a last look."""
        if not self.look() and self._values:
            self._assignment.run(self._session, self._values)
