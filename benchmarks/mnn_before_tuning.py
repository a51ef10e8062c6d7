"""Accuracy right after quantising float weights: the whole range against the best range.

No training step is made and batch norm stays as it was. The start of training cuts both ends of a
range alike; a graph that is not trained gets the range of least squared error.
"""

from __future__ import annotations

import statistics
from typing import Any

import tensorflow.compat.v1 as tf

from benchmarks.mnn_digits import digits_task
from benchmarks.mnn_task import OUTPUT, Network, Task, float_checkpoint
from benchmarks.report import Row
from graphquant_wq import quantize_frozen_weights

SEEDS = range(5)
STARTS: dict[str, dict[str, Any]] = {
    "symmetric_max_abs": {"asymmetric": False, "start": "keep"},
    "symmetric_start": {"asymmetric": False, "start": "mse"},
    "asymmetric_min_max": {"asymmetric": True, "start": "keep"},
    "asymmetric_start": {"asymmetric": True, "start": "mse"},
}
FROZEN = {"symmetric_frozen": False, "asymmetric_frozen": True}
TITLE = f"Digits for MNN before any fine-tuning, mean of {len(SEEDS)} seeds"
FORMATS = {"channels": "{}", "bits": "{}", **dict.fromkeys((*STARTS, *FROZEN), "{:.4f}")}


def measure() -> list[Row]:
    """One row for each size of the network and each number of bits."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    return [measure_bits(channels, bits) for channels in (8, 4) for bits in (4, 3, 2)]


def measure_bits(channels: int, bits: int) -> Row:
    """The mean accuracies over the seeds."""
    row: Row = {"channels": channels, "bits": bits}
    task = digits_task(channels, "cosine")
    for name, options in STARTS.items():
        network = Network(task, False, bits, **options)
        found = []
        for seed in SEEDS:
            network.restore(float_checkpoint(task, seed))
            found.append(network.accuracy())
        row[name] = statistics.mean(found)
    for name, asymmetric in FROZEN.items():
        row[name] = statistics.mean(frozen_accuracy(task, seed, bits, asymmetric) for seed in SEEDS)
    return row


def frozen_accuracy(task: Task, seed: int, bits: int, asymmetric: bool) -> float:
    """Accuracy of the float network's frozen graph by `quantize_frozen_weights`."""
    network = Network(task, False)
    network.restore(float_checkpoint(task, seed))
    frozen = tf.graph_util.convert_variables_to_constants(
        network.session, network.graph.as_graph_def(), [OUTPUT]
    )
    quantized = quantize_frozen_weights(frozen, [OUTPUT], bits, asymmetric=asymmetric, uniform=True)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(quantized.graph_def, name="")
        found = session.run(f"{OUTPUT}:0", {"images:0": task.data().test_images})
    return task.accuracy(found)
