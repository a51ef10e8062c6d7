"""Sizes and single-thread latency of what is deployed, over the same runtime's float model.

Both models of a pair run in one process, turn and turn about, one image at a time. The ratio is
the median of the ratios of the rounds. The networks have random weights and a few steps of
training, so that their ranges fit their data.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

import graphquant_qat as amct
from benchmarks.networks import CLASSES, mobilenet_v1_quarter, resnet50
from benchmarks.report import Row
from benchmarks.step_time import Network
from benchmarks.target_models import LOGITS, freeze
from benchmarks.timed_models import RUNTIMES
from graphquant_core import load_registry
from graphquant_export import Record, read_record

BATCH, STEPS = 8, 4
WARM_UP, ROUNDS = 5, 60
NETWORKS = (("MobileNetV1 0.25", mobilenet_v1_quarter, 96), ("ResNet-50", resnet50, 128))
TITLE = "Size and single-thread latency of one image, quantised against float"
FORMATS = {
    "network": "{}",
    "target": "{}",
    "float_kB": "{:,.0f}",
    "quantised_kB": "{:,.0f}",
    "float_ms": "{:.2f}",
    "quantised_ms": "{:.2f}",
    "ratio": "{:.2f}",
    "quartiles": "{0[0]:.2f} .. {0[1]:.2f}",
    "layers": "{}",
}


class Model(NamedTuple):
    """A network with its placeholder and its loss, as `freeze` takes it."""

    graph: tf.Graph
    images: tf.Tensor
    loss: tf.Tensor


class Frozen(NamedTuple):
    """A fake-quantised frozen graph with its record, the float one, and images."""

    fake: tf.GraphDef
    record: Record
    float_: tf.GraphDef
    images: np.ndarray


def measure() -> list[Row]:
    """One row for each network and target."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rows = []
    for name, network, size in NETWORKS:
        frozen = train(network, size)
        rows += [{"network": name, "target": t, **measure_target(frozen, t)} for t in RUNTIMES]
    return rows


def measure_target(frozen: Frozen, target: str) -> Row:
    """Sizes and times of the float and of the quantised model on one target."""
    ending, write_float, load = RUNTIMES[target]
    exporter = load_registry().exporters[target]
    with tempfile.TemporaryDirectory() as folder:
        float_path = Path(folder) / f"float{ending}"
        write_float(frozen.float_, LOGITS, float_path)
        artifact = exporter.export(
            frozen.fake,
            [LOGITS],
            frozen.record,
            Path(folder) / "quantised",
            calibration={"images": frozen.images},
        )
        layers = Counter(layer.execution for layer in exporter.runtime(artifact).executions())
        image = np.ascontiguousarray(frozen.images[:1])
        float_run, quantised_run = load(float_path, image), load(artifact.paths[0], image)
        for _ in range(WARM_UP):
            float_run()
            quantised_run()
        rounds = [(float_run(), quantised_run()) for _ in range(ROUNDS)]
        sizes = (float_path.stat().st_size, artifact.paths[0].stat().st_size)
    lower, ratio, upper = statistics.quantiles([after / before for before, after in rounds], n=4)
    return {
        "float_kB": sizes[0] / 1e3,
        "quantised_kB": sizes[1] / 1e3,
        "float_ms": 1e3 * statistics.median(before for before, _ in rounds),
        "quantised_ms": 1e3 * statistics.median(after for _, after in rounds),
        "ratio": ratio,
        "quartiles": (lower, upper),
        "layers": ", ".join(f"{count} {execution}" for execution, count in layers.most_common()),
    }


def train(network: Network, size: int) -> Frozen:
    """A few steps with fake quantisation, then both frozen graphs of that checkpoint."""
    images = np.random.default_rng(0).standard_normal((BATCH, size, size, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        config, record = str(Path(name) / "config.json"), str(Path(name) / "record.txt")
        checkpoint = str(Path(name) / "model.ckpt")
        model = build(network, size, training=True)
        amct.create_quant_retrain_config(config, model.graph)
        amct.create_quant_retrain_model(model.graph, config, record)
        with model.graph.as_default():
            with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                train_op = tf.train.MomentumOptimizer(1e-4, 0.9).minimize(model.loss)
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                for _ in range(STEPS):
                    session.run(train_op, {model.images: images})
                tf.train.Saver().save(session, checkpoint)
        float_ = freeze(build(network, size, training=False), checkpoint)
        model = build(network, size, training=False)
        retrain_ops = amct.create_quant_retrain_model(model.graph, config, record)
        fake = freeze(model, checkpoint, retrain_ops[-1])
        return Frozen(fake, read_record(record), float_, images)


def build(network: Network, size: int, training: bool) -> Model:
    """`network` on images of `size`, with its loss on made-up labels."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        batch = BATCH if training else None
        images = tf.placeholder(tf.float32, [batch, size, size, 3], "images")
        logits = network(images, training=training)
        loss = tf.reduce_mean(tf.square(logits - tf.one_hot(0, CLASSES)))
        return Model(graph, images, loss)
