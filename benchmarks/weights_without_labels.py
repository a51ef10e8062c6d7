"""Weights of few bits without labels or training: what `quantize --weight-only` does.

Two of the networks of `exactness`, trained twice as long and frozen, are quantised on symmetric
grids, every layer alike; as by default (asymmetric, small layers at 8 bits); and with 1,024
training images, without their labels. Accuracy on test images; nothing was chosen on them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks import photo_data, target_models
from benchmarks.photo_data import Patches
from benchmarks.photo_patches import Network
from benchmarks.report import Row
from benchmarks.target_models import LOGITS, float_model
from graphquant_wq import quantize_frozen_weights

SEEDS = range(2)
BITS = (8, 4, 3, 2)
SAMPLES = 1024
WAYS: dict[str, dict[str, Any]] = {
    "symmetric": {"asymmetric": False, "uniform": True},
    "default": {},
    "with_samples": {},
    "uniform_with_samples": {"uniform": True},
}
MODELS: tuple[tuple[str, Callable[..., Network]], ...] = (
    ("photographs, 18 layers", target_models.mobile),
    ("photographs, residual", target_models.build),
)
TITLE = f"Weights without labels, mean of {len(SEEDS)} seeds"
FORMATS = {
    "model": "{}",
    "bits": "{}",
    "float": "{:.4f}",
    **dict.fromkeys(WAYS, "{:.4f}"),
    "seconds": "{:.1f}",
}


def measure() -> list[Row]:
    """One row for each model and each number of bits."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rows: list[Row] = []
    data = photo_data.load()
    for name, build in MODELS:
        frozen = [float_model(build, data, seed) for seed in SEEDS]
        for bits in BITS:
            found = [measure_bits(graph, data, bits) for graph in frozen]
            means = {key: statistics.mean(row[key] for row in found) for key in found[0]}
            rows.append({"model": name, "bits": bits, **means})
    return rows


def measure_bits(frozen: tf.GraphDef, data: Patches, bits: int) -> dict[str, float]:
    """The accuracies of one network; the seconds are those with samples."""
    found = {"float": accuracy(frozen, data)}
    images = data.train_images
    order = np.random.default_rng(0).permutation(len(images))[:SAMPLES]
    for way, options in WAYS.items():
        samples = {"images": images[order]} if way.endswith("with_samples") else None
        started = time.perf_counter()
        quantized = quantize_frozen_weights(frozen, [LOGITS], bits, samples=samples, **options)
        found["seconds"] = time.perf_counter() - started
        found[way] = accuracy(quantized.graph_def, data)
    return found


def accuracy(graph_def: tf.GraphDef, data: Patches) -> float:
    """Share of the test images whose largest logit is the right one."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        logits = session.run(f"{LOGITS}:0", {"images:0": data.test_images})
    return float(np.mean(logits.argmax(1) == data.test_labels))
