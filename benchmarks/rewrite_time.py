"""Seconds that create_quant_retrain_model takes on graphs of 1,000 to 100,000 ops.

The graph is a chain of residual blocks, of about 60 ops to a convolution (its variables with
their initialisers and weight decay, batch norm with moving averages), as in a ResNet. Building
the graph and writing its configuration is not counted.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time

import tensorflow.compat.v1 as tf

import graphquant_qat as amct
from benchmarks.networks import residual_chain
from benchmarks.report import Row

TITLE = "create_quant_retrain_model on graphs of growing size"
FORMATS = {
    "ops": "{:,}",
    "layers": "{:,}",
    "ops_added": "{:,}",
    "seconds": "{:.2f}",
    "ms_per_layer": "{:.2f}",
    "target": "{}",
}
SIZES = ((1_000, 5, "-"), (10_000, 3, "< 1 s"), (100_000, 1, "linear"))


def measure() -> list[Row]:
    """One row for each size, the median of several graphs."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rewrite(1_000)  # imports, plugins and the calibration function are there once it has run
    rows = []
    for operations, repetitions, target in SIZES:
        runs = [rewrite(operations) for _ in range(repetitions)]
        seconds = statistics.median(run["seconds"] for run in runs)
        layers = runs[0]["layers"]
        rows.append(
            {
                **runs[0],
                "seconds": seconds,
                "ms_per_layer": 1e3 * seconds / layers,
                "target": target,
            }
        )
    return rows


def rewrite(operations: int) -> Row:
    """Build a graph of about `operations` ops and rewrite it."""
    graph = residual_chain(operations)
    before = len(graph.get_operations())
    layers = sum(op.type == "Conv2D" for op in graph.get_operations())
    with tempfile.TemporaryDirectory() as folder:
        config, record = os.path.join(folder, "config.json"), os.path.join(folder, "record.txt")
        amct.create_quant_retrain_config(config_file=config, graph=graph)
        gc.collect()
        start = time.perf_counter()
        amct.create_quant_retrain_model(graph=graph, config_file=config, record_file=record)
        seconds = time.perf_counter() - start
    added = len(graph.get_operations()) - before
    return {"ops": before, "layers": layers, "ops_added": added, "seconds": seconds}
