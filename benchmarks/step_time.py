"""The time of a training step with fake quantisation, over that of the float step.

The float network, the one that is trained for Ascend and the one for LiteRT, which rounds more, are
in one process and train on the same constant data, turn and turn about, so that what else the
machine does meets all. A ratio is the median of the ratios of the rounds.
The first six steps, in which TensorFlow optimises the graph and the ranges are searched, are timed
by themselves.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow.compat.v1 as tf

import graphquant_qat as amct
from benchmarks.networks import CLASSES, mobilenet_v1_quarter, resnet18_half, resnet50
from benchmarks.report import Row

TITLE = "Training step, fake-quantised against float"
FORMATS = {
    "network": "{}",
    "image": "{0} x {0}",
    "batch": "{}",
    "layers": "{}",
    "float_ms": "{:.1f}",
    "quantised_ms": "{:.1f}",
    "ratio": "{:.2f}",
    "quartiles": "{0[0]:.2f} .. {0[1]:.2f}",
    "litert_ratio": "{:.2f}",
    "litert_quartiles": "{0[0]:.2f} .. {0[1]:.2f}",
    "target": "<= {:.2f}",
    "first_float_s": "{:.2f}",
    "first_quantised_s": "{:.2f}",
}
FIRST = 6
NETWORKS = (
    ("MobileNetV1 0.25", 60, mobilenet_v1_quarter, 96, 32, 1.30),
    ("ResNet-18, half width", 60, resnet18_half, 32, 32, 1.08),
    ("ResNet-50", 12, resnet50, 128, 8, 1.08),
)
"""Name, rounds, network, size of its images, how many of them a step takes, and target."""

Network = Callable[..., tf.Tensor]


def measure() -> list[Row]:
    """One row for each network."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rows = []
    for name, count, network, size, batch, target in NETWORKS:
        float_step, _ = training_step(network, size, batch, quantize=False)
        fake_step, layers = training_step(network, size, batch, quantize=True)
        litert_step, _ = training_step(network, size, batch, quantize=True, target="litert")
        steps = (float_step, fake_step, litert_step)
        first = [sum(step() for _ in range(FIRST)) for step in steps]
        rounds = [tuple(step() for step in steps) for _ in range(count)]
        lower, ratio, upper = quartiles(fake / float_ for float_, fake, _ in rounds)
        litert = quartiles(fake / float_ for float_, _, fake in rounds)
        rows.append(
            {
                "network": name,
                "image": size,
                "batch": batch,
                "layers": layers,
                "float_ms": 1e3 * statistics.median(float_ for float_, _, _ in rounds),
                "quantised_ms": 1e3 * statistics.median(fake for _, fake, _ in rounds),
                "ratio": ratio,
                "quartiles": (lower, upper),
                "litert_ratio": litert[1],
                "litert_quartiles": (litert[0], litert[2]),
                "target": target,
                "first_float_s": first[0],
                "first_quantised_s": first[1],
            }
        )
    return rows


def quartiles(ratios: Iterable[float]) -> list[float]:
    """The lower quartile, the median and the upper one."""
    return statistics.quantiles(ratios, n=4)


def training_step(
    network: Network,
    size: int,
    batch: int,
    quantize: bool,
    target: str = "ascend",
    config: tf.ConfigProto | None = None,
) -> tuple[Callable[..., float], int]:
    """A function that trains one step and returns its seconds; how many layers are quantised.

    It hands its arguments on to `Session.run`; the session has `config`.
    """
    layers = 0
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        data = random.standard_normal((batch, size, size, 3)).astype(np.float32)
        images = tf.placeholder_with_default(data, data.shape)
        labels = np.arange(batch) % CLASSES
        tf.losses.sparse_softmax_cross_entropy(labels, network(images))
        loss = tf.losses.get_total_loss()
        if quantize:
            layers = fake_quantize(graph, target)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = tf.train.MomentumOptimizer(1e-3, 0.9).minimize(loss)
        session = tf.Session(config=config)
        session.run(tf.global_variables_initializer())

    def step(**options: object) -> float:
        start = time.perf_counter()
        session.run(train_op, **options)
        return time.perf_counter() - start

    return step, layers


def fake_quantize(graph: tf.Graph, target: str) -> int:
    """Rewrite `graph` for `target`, its configuration the default; the number of its layers."""
    with tempfile.TemporaryDirectory() as folder:
        config, record = os.path.join(folder, "config.json"), os.path.join(folder, "record.txt")
        amct.create_quant_retrain_config(config_file=config, graph=graph)
        amct.create_quant_retrain_model(graph, config, record, target=target)
        with open(config, encoding="utf-8") as file:
            return file.read().count('"retrain_enable":true')
