"""What a training step spends its time on: by type of op, float and fake-quantised.

Both networks are in one process, train on the same constant data, and take turns; every step is
traced. Ops run one after the other, each on all cores, so that none waits for another's threads.
A type's time is the sum over its ops, and the least of the rounds: what else the machine does only
adds to it. What a step takes as a whole, with ops side by side and untraced, says `step_time`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import tensorflow.compat.v1 as tf

from benchmarks.networks import mobilenet_v1_quarter
from benchmarks.report import Row
from benchmarks.step_time import training_step

TITLE = "Busy milliseconds of a training step by type of op, MobileNetV1 0.25 at 96 x 96, batch 32"
FORMATS = {
    "op_type": "{}",
    "float_ops": "{:,}",
    "float_ms": "{:.1f}",
    "quantised_ops": "{:,}",
    "quantised_ms": "{:.1f}",
    "more_ms": "{:+.1f}",
}
SIZE, BATCH = 96, 32
FIRST, ROUNDS = 6, 20
SHOWN_MS = 0.3
"""Types whose time differs by less are one row."""

Busy = dict[str, tuple[int, float]]
"""Number of ops and their milliseconds in a step, by type."""


def measure() -> list[Row]:
    """One row for each type, the largest difference first."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    config = tf.ConfigProto(inter_op_parallelism_threads=1)
    steps = [
        training_step(mobilenet_v1_quarter, SIZE, BATCH, quantize=quantize, config=config)[0]
        for quantize in (False, True)
    ]
    for step in steps:
        for _ in range(FIRST):
            step()
    rounds = [[traced(step) for step in steps] for _ in range(ROUNDS)]
    return rows(*(least([found[side] for found in rounds]) for side in (0, 1)))


def traced(step: Callable[..., float]) -> Busy:
    """What each type of op takes in one step."""
    metadata = tf.RunMetadata()
    step(options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=metadata)
    counts: Counter[str] = Counter()
    busy: Counter[str] = Counter()
    for device in metadata.step_stats.dev_stats:
        for node in device.node_stats:
            # "name = Type(inputs)"; what isn't an op, such as a transfer, has another form.
            _, equals, call = node.timeline_label.partition(" = ")
            kind = call.partition("(")[0].removeprefix("_Mkl") if equals else "other"
            counts[kind] += 1
            busy[kind] += node.op_end_rel_micros - node.op_start_rel_micros
    return {kind: (counts[kind], busy[kind] / 1e3) for kind in counts}


def least(found: list[Busy]) -> Busy:
    """The least milliseconds of each type, and its largest number of ops."""
    kinds = {kind for busy in found for kind in busy}
    nothing = (0, 0.0)
    return {
        kind: (
            max(busy.get(kind, nothing)[0] for busy in found),
            min(busy.get(kind, nothing)[1] for busy in found),
        )
        for kind in kinds
    }


def rows(float_: Busy, quantised: Busy) -> list[Row]:
    """The table of both, its last rows what differs by little, and the sum."""
    kinds = float_.keys() | quantised.keys()
    nothing = (0, 0.0)
    all_rows = [
        _row(kind, float_.get(kind, nothing), quantised.get(kind, nothing)) for kind in kinds
    ]
    shown = [row for row in all_rows if abs(row["more_ms"]) >= SHOWN_MS]
    alike = [row for row in all_rows if abs(row["more_ms"]) < SHOWN_MS]
    shown.sort(key=lambda row: -row["more_ms"])
    return [*shown, _total(f"{len(alike)} others", alike), _total("all", all_rows)]


def _row(kind: str, float_: tuple[int, float], quantised: tuple[int, float]) -> Row:
    return {
        "op_type": kind,
        "float_ops": float_[0],
        "float_ms": float_[1],
        "quantised_ops": quantised[0],
        "quantised_ms": quantised[1],
        "more_ms": quantised[1] - float_[1],
    }


def _total(name: str, parts: list[Row]) -> Row:
    float_ = sum(row["float_ops"] for row in parts), sum(row["float_ms"] for row in parts)
    quantised = (
        sum(row["quantised_ops"] for row in parts),
        sum(row["quantised_ms"] for row in parts),
    )
    return _row(name, float_, quantised)
