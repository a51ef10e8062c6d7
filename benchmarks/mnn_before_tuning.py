"""Accuracy right after quantising float weights: the whole range against the best range.

No training step is made and batch norm stays as it was.
"""

from __future__ import annotations

import statistics
from typing import Any

import tensorflow.compat.v1 as tf

from benchmarks.mnn_digits import digits_task
from benchmarks.mnn_task import Network, float_checkpoint
from benchmarks.report import Row

SEEDS = range(5)
STARTS: dict[str, dict[str, Any]] = {
    "symmetric_max_abs": {"asymmetric": False, "start": "keep"},
    "symmetric_best": {"asymmetric": False, "start": "mse"},
    "asymmetric_min_max": {"asymmetric": True, "start": "keep"},
    "asymmetric_best": {"asymmetric": True, "start": "mse"},
}
TITLE = f"Digits for MNN before any fine-tuning, mean of {len(SEEDS)} seeds"
FORMATS = {"channels": "{}", "bits": "{}", **dict.fromkeys(STARTS, "{:.4f}")}


def measure() -> list[Row]:
    """One row for each size of the network and each number of bits."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    return [measure_bits(channels, bits) for channels in (8, 4) for bits in (4, 3, 2)]


def measure_bits(channels: int, bits: int) -> Row:
    """The mean accuracies over the seeds."""
    row: Row = {"channels": channels, "bits": bits}
    for name, options in STARTS.items():
        task = digits_task(channels, "cosine")
        network = Network(task, False, bits, **options)
        found = []
        for seed in SEEDS:
            network.restore(float_checkpoint(task, seed))
            found.append(network.accuracy())
        row[name] = statistics.mean(found)
    return row
