"""The time of a training step with quantised weights, over that of the float step.

A step is the training op and `update`. All networks train in one process on the same constant
data, turn and turn about; the ratio is the median of the ratios of the rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import tensorflow.compat.v1 as tf

from benchmarks.mnn_chain import chain
from benchmarks.report import Row
from graphquant_wq import WeightQuantizer

LAYERS, WARM_UP, ROUNDS = 20, 8, 60
STRATEGIES = {"max_abs": 1.05, "live_range": 1.05, "learned_scale": 1.10}
TITLE = f"Training step with weights of 4 bits against float, {LAYERS} layers (batch 16)"
FORMATS = {
    "strategy": "{}",
    "float_ms": "{:.1f}",
    "quantised_ms": "{:.1f}",
    "ratio": "{:.2f}",
    "quartiles": "{0[0]:.2f} .. {0[1]:.2f}",
    "target": "<= {:.2f}",
}


def measure() -> list[Row]:
    """One row for each strategy."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    steps = {name: training_step(name) for name in (None, *STRATEGIES)}
    times: dict[str | None, list[float]] = {name: [] for name in steps}
    for number in range(WARM_UP + ROUNDS):
        for name, step in steps.items():
            seconds = step()
            if number >= WARM_UP:
                times[name].append(seconds)
    rows = []
    for name, target in STRATEGIES.items():
        ratios = [fake / float_ for fake, float_ in zip(times[name], times[None], strict=True)]
        lower, ratio, upper = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "strategy": name,
                "float_ms": 1e3 * statistics.median(times[None]),
                "quantised_ms": 1e3 * statistics.median(times[name]),
                "ratio": ratio,
                "quartiles": (lower, upper),
                "target": target,
            }
        )
    return rows


def training_step(strategy: str | None) -> Callable[[], float]:
    """A function that trains one step and returns its seconds; float without a strategy."""
    quantizer = None
    with tf.Graph().as_default() as graph:
        loss = chain(LAYERS)
        if strategy is not None:
            quantizer = WeightQuantizer(graph, bits=4, strategy=strategy)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = tf.train.MomentumOptimizer(1e-3, 0.9).minimize(loss)
        session = tf.Session()
        session.run(tf.global_variables_initializer())
    if quantizer is not None:
        quantizer.init(session)

    def step() -> float:
        start = time.perf_counter()
        session.run(train_op)
        if quantizer is not None:
            quantizer.update(session)
        return time.perf_counter() - start

    return step
