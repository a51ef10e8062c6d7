"""Accuracy on patches of photographs, float against quantised, with the same budget for both sides.

Each seed trains the float network, then goes on from its checkpoint twice, with the same number of
epochs, learning rate and batches: once as it is, once fake-quantised. Accuracy is that of the last
epoch.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

import graphquant_qat as amct
from benchmarks import photo_data
from benchmarks.layers import conv, dense
from benchmarks.networks import residual
from benchmarks.photo_data import Patches
from benchmarks.report import Row

SEEDS = range(3)
EPOCHS, FINE_TUNING_EPOCHS = 12, 6
LEARNING_RATE, FINE_TUNING_LEARNING_RATE = 3e-3, 1e-3
BATCH = 64
BLOCKS = ((16, 2), (32, 2), (64, 2))
OUTPUT = "probabilities"
TITLE = (
    f"Patches of {len(photo_data.PHOTOGRAPHS)} photographs, {len(SEEDS)} seeds: float for {EPOCHS} "
    f"epochs, then {FINE_TUNING_EPOCHS} more, float or fake-quantised"
)
ACCURACIES = ("float", "float_continued", "fake_quantised", "quantised")
FORMATS = {"seed": "{}", **dict.fromkeys(ACCURACIES, "{:.4f}"), "same_top1": "{:.4f}"}


class Network(NamedTuple):
    """A graph and the tensors that a training loop needs."""

    graph: tf.Graph
    images: tf.Tensor
    labels: tf.Tensor
    loss: tf.Tensor


class Files(NamedTuple):
    """What the calls read and write."""

    config: str
    record: str
    frozen: Path
    save_path: str


def measure() -> list[Row]:
    """One row for each seed, then their mean."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    patches = photo_data.load()
    rows = [measure_seed(patches, seed) for seed in SEEDS]
    keys = [key for key in FORMATS if key != "seed"]
    return [*rows, {"seed": "mean", **{key: statistics.mean(r[key] for r in rows) for key in keys}}]


def measure_seed(patches: Patches, seed: int) -> Row:
    """The accuracies of one seed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start, continued, retrained = (str(folder / f"{run}.ckpt") for run in ("a", "b", "c"))
        files = Files(
            str(folder / "config.json"), str(folder / "record.txt"), folder / "frozen.pb",
            str(folder / "photo"),
        )  # fmt: skip
        train(build(True, seed), patches, seed, EPOCHS, LEARNING_RATE, start)
        budget = (seed, FINE_TUNING_EPOCHS, FINE_TUNING_LEARNING_RATE)
        train(build(True, seed), patches, *budget, continued, start)
        network = build(True, seed)
        amct.create_quant_retrain_config(files.config, network.graph)
        amct.create_quant_retrain_model(network.graph, files.config, files.record)
        train(network, patches, *budget, retrained, start)
        fake = deploy(patches, retrained, files)
        quantised = run_quantised(patches, f"{files.save_path}_quantized.pb")
        found = {
            "float": evaluate(patches, start),
            "float_continued": evaluate(patches, continued),
            "fake_quantised": fake,
            "quantised": quantised,
        }
    accuracies = {key: accuracy(value, patches) for key, value in found.items()}
    same = float(np.mean(fake.argmax(1) == quantised.argmax(1)))
    return {"seed": seed, **accuracies, "same_top1": same}


def build(training: bool, seed: int = 0) -> Network:
    """A convolution, three residual blocks and a dense layer, with batch norm throughout."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(seed)
        size = photo_data.SIZE
        images = tf.placeholder(tf.float32, [None, size, size, 1], "images")
        labels = tf.placeholder(tf.int64, [None], "labels")
        with tf.variable_scope("conv"):
            x = tf.nn.relu(conv(images, 16, 3, training=training))
        for number, (channels, stride) in enumerate(BLOCKS):
            with tf.variable_scope(f"block{number}"):
                x = residual(x, channels, stride, training=training)
        with tf.variable_scope("dense"):
            logits = dense(tf.reduce_mean(x, [1, 2]), len(photo_data.PHOTOGRAPHS))
        tf.losses.sparse_softmax_cross_entropy(labels, logits)
        tf.nn.softmax(logits, name=OUTPUT)
        return Network(graph, images, labels, tf.losses.get_total_loss())


def train(
    network: Network,
    patches: Patches,
    seed: int,
    epochs: int,
    learning_rate: float,
    checkpoint: str,
    start: str | None = None,
) -> None:
    """Train with Adam from `start`, the learning rate falling to zero, and save to `checkpoint`."""
    random = np.random.default_rng(seed)
    batches = len(patches.train_images) // BATCH
    with network.graph.as_default():
        step = tf.train.get_or_create_global_step()
        rate = tf.train.cosine_decay(learning_rate, step, epochs * batches)
        # The steps of the start aren't those of this run, and Adam's moments begin anew.
        known = set(tf.train.load_checkpoint(start).get_variable_to_shape_map()) if start else set()
        restored = [v for v in tf.global_variables() if v.op.name in known - {step.op.name}]
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = tf.train.AdamOptimizer(rate).minimize(network.loss, step)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            if start:
                tf.train.Saver(restored).restore(session, start)
            for _ in range(epochs):
                order = random.permutation(len(patches.train_images))[: batches * BATCH]
                for batch in order.reshape(batches, BATCH):
                    images, labels = patches.train_images[batch], patches.train_labels[batch]
                    session.run(train_op, {network.images: images, network.labels: labels})
            tf.train.Saver().save(session, checkpoint)


def evaluate(patches: Patches, checkpoint: str) -> np.ndarray:
    """Probabilities [N, photographs] of the float network."""
    network = build(training=False)
    with network.graph.as_default(), tf.Session() as session:
        tf.train.Saver().restore(session, checkpoint)
        return session.run(f"{OUTPUT}:0", {network.images: patches.test_images})


def deploy(patches: Patches, checkpoint: str, files: Files) -> np.ndarray:
    """Write the quantised model; probabilities of the fake-quantised inference graph."""
    network = build(training=False)
    retrain_ops = amct.create_quant_retrain_model(network.graph, files.config, files.record)
    with network.graph.as_default(), tf.Session() as session:
        tf.train.Saver().restore(session, checkpoint)
        probabilities = session.run(f"{OUTPUT}:0", {network.images: patches.test_images})
        session.run(retrain_ops[-1])
        frozen = tf.graph_util.convert_variables_to_constants(
            session, network.graph.as_graph_def(), [OUTPUT]
        )
    files.frozen.write_bytes(frozen.SerializeToString())
    amct.save_quant_retrain_model(str(files.frozen), [OUTPUT], files.record, files.save_path)
    return probabilities


def run_quantised(patches: Patches, path: str) -> np.ndarray:
    """Probabilities of the quantised graph at `path`."""
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(f"{OUTPUT}:0", {"images:0": patches.test_images})


def accuracy(probabilities: np.ndarray, patches: Patches) -> float:
    """Share of the test patches whose most probable photograph is the right one."""
    return float(np.mean(probabilities.argmax(1) == patches.test_labels))
