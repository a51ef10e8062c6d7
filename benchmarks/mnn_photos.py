"""Accuracy of weight-only quantisation on a harder task, up to MNN's own model.

Patches of photographs, as in `photo_patches`, and a network of 16 layers with a weight: a
convolution, seven pairs of a depthwise and a 1x1 convolution, and a dense layer.
"""

from __future__ import annotations

import functools

import tensorflow.compat.v1 as tf

from benchmarks import photo_data
from benchmarks.layers import conv, dense, depthwise
from benchmarks.mnn_digits import STRATEGIES
from benchmarks.mnn_task import Task, cosine
from benchmarks.mnn_tuning import FORMATS as RESULTS
from benchmarks.mnn_tuning import fine_tuned
from benchmarks.report import Row

SEEDS = range(2)
BITS = (4, 3, 2)
SMALL_GROUPS = {"strategy": "live_range", "layer_bits": {"conv/*": 8, "*/depthwise/*": 8}}
EPOCHS, FINE_TUNING_EPOCHS, REESTIMATION_EPOCHS = 15, 8, 3
RATE = 3e-3
BLOCKS = ((16, 2), (32, 1), (32, 2), (64, 1), (64, 1), (64, 2), (128, 1))
TITLE = (
    f"Photographs for MNN, mean of {len(SEEDS)} seeds: float for {EPOCHS} epochs, "
    f"then {FINE_TUNING_EPOCHS} quantised"
)
FORMATS = {"bits": "{}", "strategy": "{}", **RESULTS}


def measure() -> list[Row]:
    """One row for each number of bits and each strategy."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    task = Task(
        functools.cache(photo_data.load), logits, functools.partial(cosine, RATE),
        EPOCHS, FINE_TUNING_EPOCHS, REESTIMATION_EPOCHS,
    )  # fmt: skip
    rows = []
    for bits in BITS:
        sides = dict(STRATEGIES)
        if bits == min(BITS):
            sides["live_range, groups of 9 at 8 bits"] = SMALL_GROUPS
        for name, options in sides.items():
            found = fine_tuned(task, SEEDS, bits, options)
            rows.append({"bits": bits, "strategy": name, **found})
    return rows


def logits(images: tf.Tensor, training: bool) -> tf.Tensor:
    """Logits [N, photographs]."""
    with tf.variable_scope("conv"):
        x = tf.nn.relu(conv(images, 16, 3, training=training))
    for number, (channels, stride) in enumerate(BLOCKS):
        with tf.variable_scope(f"block{number}/depthwise"):
            x = tf.nn.relu(depthwise(x, stride, training))
        with tf.variable_scope(f"block{number}/pointwise"):
            x = tf.nn.relu(conv(x, channels, 1, training=training))
    with tf.variable_scope("dense"):
        return dense(tf.reduce_mean(x, [1, 2]), len(photo_data.PHOTOGRAPHS))
