"""The training steps: random batches, a rate that falls along a cosine, and Ctrl-C."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_tune.best import Best
from graphquant_tune.samples import Samples
from graphquant_tune.teacher import Teacher


@attrs.frozen
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Training steps.
        minutes: Time after which training ends; its rate falls accordingly.
        seed: Of the order of the samples.
    """

    steps: int = 1400
    minutes: float | None = None
    seed: int = 0

    def share(self, step: int, seconds: float) -> float:
        """How much of the training is done, 0 to 1."""
        share = step / self.steps if self.steps else 1.0
        return share if self.minutes is None else max(share, seconds / (60 * self.minutes))


@attrs.frozen
class Progress:
    """Where training is.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        loss: Mean distance from the float model over the last steps.
        seconds: Since the training began.
    """

    step: int
    steps: int
    loss: float
    seconds: float


@attrs.frozen
class Ended:
    """How training ended.

    Attributes:
        steps: Steps that were done.
        seconds: How long they took.
        interrupted: Whether Ctrl-C ended them.
        diverged: Whether they led to NaN or infinity, so that the start was kept.
    """

    steps: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    diverged: bool = False

    def check_finite(self, learned: Mapping[str, npt.NDArray[Any]]) -> None:
        """Returns when all that was `learned` is finite.

        Raises:
            DivergedError: It isn't.
        """
        if not all(np.isfinite(value).all() for value in learned.values()):
            raise DivergedError(self)


class DivergedError(Exception):
    """Training led to NaN or infinity.

    Attributes:
        ended: How it ended.
    """

    def __init__(self, ended: Ended) -> None:
        super().__init__(f"training diverged after {ended.steps} steps")
        self.ended = attrs.evolve(ended, diverged=True)


@attrs.frozen(eq=False)
class Loop:
    """Trains in one session.

    Attributes:
        session: The session.
        train: Makes one step.
        loss: The loss, float32 scalar.
        teacher: Gives the answers that the loss needs.
        rate: Placeholder of the learning rate.
        highest: The rate at the start.
        after: Called after each step.
        progress: Called after every ten steps.
        best: Keeps the best values, where samples are left to tell them by.
    """

    session: tf.compat.v1.Session
    train: tf.Operation
    loss: tf.Tensor
    teacher: Teacher
    rate: tf.Tensor
    highest: float
    after: Callable[[tf.compat.v1.Session], object] | None = None
    progress: Callable[[Progress], object] | None = None
    best: Best | None = None

    def run(self, samples: Samples, schedule: Schedule) -> Ended:
        """Trains as `schedule` says; Ctrl-C ends it, and what was learned stays.

        Raises:
            DivergedError: The loss is NaN or infinite.
        """
        begin, step = time.monotonic(), 0
        losses: list[float] = []
        batches = samples.at_random(schedule.seed)
        try:
            while (share := schedule.share(step, time.monotonic() - begin)) < 1:
                rate = self.highest * 0.5 * (1 + math.cos(math.pi * share))
                feeds = {**self.teacher.with_answers(next(batches)), self.rate: rate}
                _, loss = self.session.run((self.train, self.loss), feeds)
                if not math.isfinite(loss):
                    raise DivergedError(Ended(step, time.monotonic() - begin))
                if self.after is not None:
                    self.after(self.session)
                losses = [*losses[-49:], float(loss)]
                step += 1
                if self.best is not None:
                    self.best.after_step(step, share)
                if self.progress is not None and (step % 10 == 0 or step == 1):
                    mean, seconds = sum(losses) / len(losses), time.monotonic() - begin
                    self.progress(Progress(step, schedule.steps, mean, seconds))
        except KeyboardInterrupt:
            return Ended(step, time.monotonic() - begin, True)
        return Ended(step, time.monotonic() - begin)
