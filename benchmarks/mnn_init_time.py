"""Seconds that WeightQuantizer and its `init` take, on training graphs of 5, 20 and 80 layers.

`init` runs in a session whose variables are initialised and whose graph has its gradients, as in
a script that starts training. The strategies that search the best range of each group do so.
"""

from __future__ import annotations

import gc
import statistics
import time

import tensorflow.compat.v1 as tf

from benchmarks.mnn_chain import chain
from benchmarks.report import Row
from graphquant_wq import WeightQuantizer

REPETITIONS = 3
TITLE = f"WeightQuantizer on growing graphs, 4 bits, median of {REPETITIONS}"
FORMATS = {
    "strategy": "{}",
    "layers": "{}",
    "build_seconds": "{:.2f}",
    "init_seconds": "{:.2f}",
    "target": "{}",
}


def measure() -> list[Row]:
    """One row for each strategy and number of layers."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    time_of("live_range", 5)  # imports and plugins are there once it has run
    rows = []
    for strategy in ("max_abs", "live_range", "learned_scale"):
        for layers in (5, 20, 80):
            runs = [time_of(strategy, layers) for _ in range(REPETITIONS)]
            build, init = (statistics.median(times) for times in zip(*runs, strict=True))
            rows.append(
                {
                    "strategy": strategy,
                    "layers": layers,
                    "build_seconds": build,
                    "init_seconds": init,
                    "target": "< 1 s" if layers == 80 else "-",
                }
            )
    return rows


def time_of(strategy: str, layers: int) -> tuple[float, float]:
    """Seconds of the constructor and of `init`."""
    with tf.Graph().as_default() as graph:
        loss = chain(layers)
        gc.collect()
        start = time.perf_counter()
        quantizer = WeightQuantizer(graph, bits=4, strategy=strategy)
        built = time.perf_counter() - start
        tf.train.MomentumOptimizer(1e-3, 0.9).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            gc.collect()
            start = time.perf_counter()
            quantizer.init(session)
            return built, time.perf_counter() - start
