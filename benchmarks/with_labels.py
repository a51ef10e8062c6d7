"""Fine-tuning at few bits with labels: rates, steps of grids, and the float model as teacher.

The smaller network of `mnn_digits` and that of `mnn_photos`. From one float checkpoint every way
trains for as many steps, float or at 4, 3 and 2 bits: Adam, its rate falls to zero along a cosine,
batch norm is re-estimated at the end. The best single rates were chosen by `choose`, on digits that
are neither trained on nor tested.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import attrs
import tensorflow.compat.v1 as tf

from benchmarks import mnn_digits, mnn_photos, photo_data
from benchmarks.mnn_task import OUTPUT, Network, Task, cosine, float_checkpoint
from benchmarks.report import Row

Bits: TypeAlias = int | Literal["int8"] | None
RATES = (2e-3, 4e-3, 8e-3, 1.6e-2)
REST, STEP_RATE = 4e-3, 0.06
"""Of biases and batch norms, and of weights in step units: those that `tune` has."""
BEST_RATE = 1.6e-2
"""What `choose` finds at 3 and at 2 bits: the highest that is tried."""


@attrs.frozen
class Way:
    """A way to fine-tune.

    Attributes:
        rate: Adam's at the start.
        step_rate: That of weights, in steps of their grids; ``None`` for one rate for all.
        taught: Whether the float model's answers are half of the loss.
    """

    rate: float
    step_rate: float | None = None
    taught: bool = False

    @property
    def name(self) -> str:
        """``"step units, 0.004, taught"``."""
        said = "Adam" if self.step_rate is None else "step units"
        return f"{said}, {self.rate:g}{', taught' if self.taught else ''}"


SMALL, LARGE, LARGE_TAUGHT = Way(5e-4), Way(BEST_RATE), Way(BEST_RATE, taught=True)
UNITS, UNITS_TAUGHT = Way(REST, STEP_RATE), Way(REST, STEP_RATE, taught=True)
FASTER_UNITS = Way(2 * REST, 2 * STEP_RATE), Way(4 * REST, 4 * STEP_RATE)
WAYS: Mapping[Bits, tuple[Way, ...]] = {
    None: (SMALL, LARGE, Way(REST), Way(2 * REST), Way(REST, taught=True)),
    "int8": (SMALL, Way(REST), UNITS),
    4: (SMALL, UNITS, UNITS_TAUGHT),
    3: (SMALL, LARGE, LARGE_TAUGHT, UNITS, UNITS_TAUGHT, *FASTER_UNITS),
    2: (SMALL, LARGE, LARGE_TAUGHT, UNITS, UNITS_TAUGHT),
}
"""What is compared; float networks have no grids, and are trained on alike."""
TITLE = "Few bits with labels, means over the seeds"
FORMATS = {
    "task": "{}",
    "seeds": "{}",
    "bits": "{}",
    "way": "{}",
    **dict.fromkeys(("float", "last_step", "reestimated", "worst"), "{:.4f}"),
}


def measure() -> list[Row]:
    """One row for each task, number of bits and way."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rows = []
    for name, (task, seeds) in tasks().items():
        for bits, ways in WAYS.items():
            for way in ways:
                row = {"task": name, "seeds": len(seeds), "bits": bits or "float", "way": way.name}
                rows.append(row | tuned(task, seeds, bits, way))
    return rows


def choose(
    bits: Bits, seeds: Iterable[int] = range(3), ways: Iterable[Way] = tuple(map(Way, RATES))
) -> Way:
    """The best of `ways` by accuracy on digits to choose on."""
    task, known = mnn_digits.digits_task(4, "cosine")._replace(data=_digits_to_choose_on), [*seeds]
    return max(ways, key=lambda way: tuned(task, known, bits, way)["reestimated"])


@functools.cache
def tasks() -> dict[str, tuple[Task, range]]:
    """The tasks and their seeds, by name."""
    photographs = Task(
        functools.cache(photo_data.load), mnn_photos.logits,
        functools.partial(cosine, mnn_photos.RATE), mnn_photos.EPOCHS,
        mnn_photos.FINE_TUNING_EPOCHS, mnn_photos.REESTIMATION_EPOCHS,
    )  # fmt: skip
    return {
        "digits": (mnn_digits.digits_task(4, "cosine"), range(5)),
        "photographs": (photographs, range(2)),
    }


@functools.cache
def _digits_to_choose_on() -> Any:
    """The training images alone: the last 347 are what is chosen on."""
    known = mnn_digits.digits_task(4, "cosine").data()
    images, labels = known.train_images, known.train_labels
    return known._replace(
        train_images=images[:1000], train_labels=labels[:1000],
        test_images=images[1000:], test_labels=labels[1000:],
    )  # fmt: skip


def tuned(task: Task, seeds: Iterable[int], bits: Bits, way: Way) -> Row:
    """Accuracies after `way`: the means over `seeds`, and the worst of them."""
    rows = [tuned_once(task, seed, bits, way) for seed in seeds]
    before, last, after = (statistics.mean(column) for column in zip(*rows, strict=True))
    worst = min(row[-1] for row in rows)
    return {
        "float": before,
        "last_step": last,
        "reestimated": after,
        "worst": worst,
    }


def tuned_once(task: Task, seed: int, bits: Bits, way: Way) -> tuple[float, float, float]:
    """Accuracy of the float network, after the last step, and with batch norm re-estimated."""
    start = float_checkpoint(task, seed)
    plain = _shown(task, None)
    plain.restore(start)
    before = plain.accuracy()
    trainer = _trainer(task, bits, way, seed if way.taught else None)
    trainer.train(task.fine_tuning_epochs, seed, start)
    shown = _shown(task, bits)
    shown.restore(trainer.save())
    last = shown.accuracy()
    trainer.reestimate(seed)
    shown.restore(trainer.save())
    return before, last, shown.accuracy()


@functools.lru_cache(1)
def _trainer(task: Task, bits: Bits, way: Way, teacher: Bits) -> Network:
    """A network to train; its teacher is the float network of that seed."""
    fast = task._replace(rate=functools.partial(cosine, way.rate))
    ratio = None if way.step_rate is None else way.step_rate / way.rate
    frozen = None
    if teacher is not None:
        plain = _shown(task, None)
        plain.restore(float_checkpoint(task, teacher))
        frozen = tf.graph_util.convert_variables_to_constants(
            plain.session, plain.graph.as_graph_def(), [OUTPUT]
        )
    return Network(fast, True, bits, step_ratio=ratio, teacher=frozen)


@functools.cache
def _shown(task: Task, bits: Bits) -> Network:
    return Network(task, False, bits)
