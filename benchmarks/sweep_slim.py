"""The networks of tf_slim.nets, frozen. tf_slim takes Keras 2 for tf.keras: its own process."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sweep_models import drawn, model_file, photographs

os.environ["TF_USE_LEGACY_KERAS"] = "1"
# What tf_slim imports its layers from; tf_keras 2.21 has it below `src` only.
for suffix in ("", ".base", ".convolutional", ".core", ".normalization", ".pooling"):
    room = importlib.import_module(f"tf_keras.src.legacy_tf_layers{suffix}")
    sys.modules[f"tf_keras.legacy_tf_layers{suffix}"] = room

import tensorflow.compat.v1 as tf  # noqa: E402 - what stands above comes first
import tf_slim  # noqa: E402

BATCH = 16
CLASSES = 1000
PARTS = {"inception": 0.0003, "resnet": 0.003}
"""What a batch adds to moving averages of these families."""
INPUT, OUTPUT = "images", "probabilities"


def write(name: str, size: int, folder: Path) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Writes the network; how images are prepared for it, and the name of its input."""
    net = name.removeprefix("slim_")
    frozen = _frozen(net, size, _trained(net, size))
    (folder / model_file(name)).write_bytes(frozen.SerializeToString())
    return _prepare, INPUT


def _trained(net: str, size: int) -> dict[str, np.ndarray]:
    """A value for each variable; batch norms have the statistics of one batch."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, size, size, 3], INPUT)
        _build(net, images, training=True)
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        trained = {variable.op.name for variable in tf.trainable_variables()}
        for name, variable in variables.items():
            shape = tuple(variable.shape)
            value = drawn(name, shape, random, "depthwise" in name)
            variable.load(value if name in trained else np.zeros(shape, np.float32), session)
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        session.run(updates, {images: _prepare(photographs(size, BATCH, random))})
        found = session.run(variables)
    part = PARTS.get(net.partition("_")[0], 1.0)
    return {name: value / (1 if name in trained else part) for name, value in found.items()}


def _frozen(net: str, size: int, values: dict[str, np.ndarray]) -> tf.GraphDef:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, size, size, 3], INPUT)
        tf.nn.softmax(_build(net, images, training=False), name=OUTPUT)
        for variable in tf.global_variables():
            variable.load(values[variable.op.name], session)
        return tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [OUTPUT])


def _build(net: str, images: tf.Tensor, training: bool) -> tf.Tensor:
    """Logits ``[N, CLASSES]``."""
    family, _, version = net.partition("_")
    module = f"resnet_{version[:2]}" if family == "resnet" else family
    nets = importlib.import_module(f"tf_slim.nets.{module}")
    scope: Any = getattr(nets, f"{net}_arg_scope", None) or getattr(nets, f"{family}_arg_scope")
    with tf_slim.arg_scope(scope()):
        logits, _ = getattr(nets, net)(images, CLASSES, is_training=training)
    return tf.reshape(logits, [-1, CLASSES])


def _prepare(images: np.ndarray) -> np.ndarray:
    return (images / 127.5 - 1).astype(np.float32)
