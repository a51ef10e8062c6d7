"""Accuracy of weight-only quantisation on digits, up to MNN's own model.

Three convolutions with batch norm, one of them depthwise, average pooling and a dense layer. The
learning rate of all trainings, float ones too, is constant or falls along a cosine.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from benchmarks.layers import batch_norm
from benchmarks.mnn_task import Task, cosine
from benchmarks.mnn_tuning import FORMATS as RESULTS
from benchmarks.mnn_tuning import fine_tuned
from benchmarks.report import Row

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "digits_qat"))

import data

SEEDS = range(5)
CHANNELS = (8, 4)
BITS = (8, 4, 3, 2)
CONSTANT_RATE, HIGHEST_RATE = 2e-3, 5e-3
EPOCHS, FINE_TUNING_EPOCHS, REESTIMATION_EPOCHS = 60, 30, 10
STRATEGIES: dict[str, dict[str, Any]] = {
    name: {"strategy": name} for name in ("max_abs", "live_range", "learned_scale")
}
SMALL_GROUPS = {"strategy": "live_range", "layer_bits": {"conv1/*": 8, "conv3/*": 8}}
DAMPENED = {"strategy": "live_range", "dampened": True}
TITLE = (
    f"Digits for MNN, mean of {len(SEEDS)} seeds: float for {EPOCHS} epochs, "
    f"then {FINE_TUNING_EPOCHS} quantised"
)
FORMATS = {"rate": "{}", "channels": "{}", "bits": "{}", "strategy": "{}", **RESULTS}


def measure(rate: str = "constant") -> list[Row]:
    """One row for each size of the network, number of bits and strategy."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rows = []
    for channels in CHANNELS:
        task = digits_task(channels, rate)
        for bits in BITS:
            sides = dict(STRATEGIES)
            if bits == min(BITS):
                sides["live_range, dampened"] = DAMPENED
                sides["live_range, groups of 9 at 8 bits"] = SMALL_GROUPS
            for name, options in sides.items():
                found = fine_tuned(task, SEEDS, bits, options)
                said = {"rate": rate, "channels": channels, "bits": bits, "strategy": name}
                rows.append(said | found)
    return rows


@functools.cache
def digits_task(channels: int, rate: str) -> Task:
    """The network with `channels` in its first layer; the others have twice as many."""
    rates = {
        "constant": lambda _: CONSTANT_RATE,
        "cosine": functools.partial(cosine, HIGHEST_RATE),
    }
    return Task(
        _digits,
        functools.partial(_logits, channels=channels),
        rates[rate],
        EPOCHS,
        FINE_TUNING_EPOCHS,
        REESTIMATION_EPOCHS,
    )


_digits = functools.cache(data.load)


def _logits(images: tf.Tensor, training: bool, channels: int) -> tf.Tensor:
    with tf.variable_scope("conv1"):
        x = tf.nn.conv2d(images, _weights([3, 3, 1, channels]), strides=1, padding="SAME")
        x = tf.nn.relu(batch_norm(x, training))
    with tf.variable_scope("conv2"):
        x = tf.nn.conv2d(x, _weights([3, 3, channels, 2 * channels]), strides=2, padding="SAME")
        x = tf.nn.relu(batch_norm(x, training))
    with tf.variable_scope("conv3"):
        x = tf.nn.depthwise_conv2d(x, _weights([3, 3, 2 * channels, 1]), [1] * 4, padding="SAME")
        x = tf.nn.relu(batch_norm(x, training))
    x = tf.nn.avg_pool2d(x, ksize=2, strides=2, padding="VALID", name="pool")
    x = tf.reshape(x, [-1, 8 * channels])
    with tf.variable_scope("dense"):
        bias = tf.get_variable("bias", [10], initializer=tf.zeros_initializer())
        return tf.nn.bias_add(tf.matmul(x, _weights([8 * channels, 10])), bias)


def _weights(shape: list[int]) -> tf.Variable:
    return tf.get_variable("weights", shape, initializer=tf.glorot_uniform_initializer())
