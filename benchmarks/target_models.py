"""The trained models that the targets are compared on: frozen, with their records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow.compat.v1 as tf

import graphquant_qat as amct
from benchmarks import photo_data
from benchmarks.digits_accuracy import (
    EPOCHS,
    FINE_TUNING_EPOCHS,
    data,
    evaluate_float,
    quantize,
    read_graph,
    train_float,
)
from benchmarks.digits_accuracy import Files as DigitsFiles
from benchmarks.layers import batch_norm, conv, dense, depthwise, variable
from benchmarks.networks import residual as plain_block
from benchmarks.photo_data import Patches
from benchmarks.photo_patches import BATCH, BLOCKS, Network, train
from graphquant_export import Record, read_record

LOGITS = "dense/BiasAdd"
STEPS = 900
MOBILE_BLOCKS = ((24, 2), (32, 1), (48, 2), (48, 1), (64, 1), (96, 2), (96, 1), (128, 1))
CALIBRATION_IMAGES = 256


class HasGraph(Protocol):
    """A network with its graph."""

    @property
    def graph(self) -> tf.Graph:
        """The graph, up to the logits."""


class TrainedModel(NamedTuple):
    """A model after quantisation-aware training, and the float one that it started from.

    Attributes:
        frozen: The frozen graph with its fake quantisers.
        record: Its scales and offsets.
        float_frozen: The frozen float graph.
        calibration: Training images.
        images: Test images.
        labels: Their classes.
    """

    frozen: tf.GraphDef
    record: Record
    float_frozen: tf.GraphDef
    calibration: np.ndarray
    images: np.ndarray
    labels: np.ndarray


def digits(seed: int) -> TrainedModel:
    """The network of the digits example: two convolutions, a depthwise one, pooling, dense."""
    found = data.load()
    with tempfile.TemporaryDirectory() as folder:
        files = DigitsFiles.below(folder)
        train_float(found, files, EPOCHS, seed)
        evaluate_float(found, files)
        quantize.retrain(found, files, FINE_TUNING_EPOCHS, seed)
        quantize.export(found, files)
        return TrainedModel(
            read_graph(files.retrained_frozen),
            read_record(files.record),
            read_graph(files.float_frozen),
            found.train_images[:CALIBRATION_IMAGES],
            found.test_images,
            found.test_labels,
        )


def photographs(seed: int, target: str = "ascend") -> TrainedModel:
    """The network of `photo_patches`: residual blocks with plain convolutions."""
    return trained(photo_network, photo_data.load(), seed, target)


def residual_digits(seed: int, target: str = "ascend") -> TrainedModel:
    """`build` on the digits."""
    return trained(build, Patches(*data.load()), seed, target)


def residual_photographs(seed: int, target: str = "ascend") -> TrainedModel:
    """`build` on patches of photographs, which it tells apart two times out of three."""
    return trained(build, photo_data.load(), seed, target)


def mobile_photographs(seed: int, target: str = "ascend") -> TrainedModel:
    """`mobile` on patches of photographs."""
    return trained(mobile, photo_data.load(), seed, target)


def trained(
    build: Callable[..., Network], patches: Patches, seed: int, target: str
) -> TrainedModel:
    """A network after float training, and after quantisation-aware training for `target`."""
    size, classes = patches.train_images.shape[1], int(patches.train_labels.max()) + 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start, retrained = str(folder / "float.ckpt"), str(folder / "retrained.ckpt")
        config, record = str(folder / "config.json"), str(folder / "record.txt")
        epochs = STEPS // (len(patches.train_images) // BATCH)
        train(build(True, size, classes, seed), patches, seed, epochs, 3e-3, start)
        network = build(True, size, classes, seed)
        amct.create_quant_retrain_config(config, network.graph)
        amct.create_quant_retrain_model(network.graph, config, record, target=target)
        train(network, patches, seed, epochs // 2, 1e-3, retrained, start)
        float_frozen = freeze(build(False, size, classes), start)
        network = build(False, size, classes)
        retrain_ops = amct.create_quant_retrain_model(network.graph, config, record, target=target)
        frozen = freeze(network, retrained, retrain_ops[-1])
        calibration = patches.train_images
        calibration = calibration[:: len(calibration) // CALIBRATION_IMAGES]
        return TrainedModel(
            frozen,
            read_record(record),
            float_frozen,
            calibration,
            patches.test_images,
            patches.test_labels,
        )


def float_model(build: Callable[..., Network], patches: Patches, seed: int) -> tf.GraphDef:
    """The frozen graph of a network after float training, twice as long as in `trained`."""
    size, classes = patches.train_images.shape[1], int(patches.train_labels.max()) + 1
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(Path(folder) / "float.ckpt")
        epochs = 2 * STEPS * BATCH // len(patches.train_images)
        train(build(True, size, classes, seed), patches, seed, epochs, 3e-3, checkpoint)
        return freeze(build(False, size, classes), checkpoint)


def photo_network(training: bool, size: int, classes: int, seed: int = 0) -> Network:
    """A convolution, three residual blocks of plain convolutions, dense."""
    return network_of(photo_logits, training, size, classes, seed)


def photo_logits(images: tf.Tensor, classes: int, training: bool) -> tf.Tensor:
    """Logits of `photo_network`."""
    with tf.variable_scope("conv"):
        x = tf.nn.relu(conv(images, 16, 3, training=training))
    for number, (channels, stride) in enumerate(BLOCKS):
        with tf.variable_scope(f"block{number}"):
            x = plain_block(x, channels, stride, training=training)
    with tf.variable_scope("dense"):
        return dense(tf.reduce_mean(x, [1, 2]), classes)


def mobile(training: bool, size: int, classes: int, seed: int = 0) -> Network:
    """18 layers: depthwise-separable blocks with batch norm and relu6, dense."""
    return network_of(mobile_logits, training, size, classes, seed)


def mobile_logits(images: tf.Tensor, classes: int, training: bool) -> tf.Tensor:
    """Logits of `mobile`."""
    with tf.variable_scope("conv"):
        x = tf.nn.relu6(conv(images, 16, 3, training=training))
    for number, (channels, stride) in enumerate(MOBILE_BLOCKS):
        with tf.variable_scope(f"block{number}/depthwise"):
            x = tf.nn.relu6(depthwise(x, stride, training))
        with tf.variable_scope(f"block{number}/pointwise"):
            x = tf.nn.relu6(conv(x, channels, 1, training=training))
    with tf.variable_scope("dense"):
        return dense(tf.reduce_mean(x, [1, 2]), classes)


def network_of(
    logits: Callable[..., tf.Tensor], training: bool, size: int, classes: int, seed: int
) -> Network:
    """A graph of `logits` with its loss."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(seed)
        images = tf.placeholder(tf.float32, [None, size, size, 1], "images")
        labels = tf.placeholder(tf.int64, [None], "labels")
        tf.losses.sparse_softmax_cross_entropy(labels, logits(images, classes, training))
        return Network(graph, images, labels, tf.losses.get_total_loss())


def build(training: bool, size: int, classes: int, seed: int = 0) -> Network:
    """Three residual blocks, a transposed convolution and a pooling between them, dense."""
    return network_of(residual_logits, training, size, classes, seed)


def residual_logits(images: tf.Tensor, classes: int, training: bool) -> tf.Tensor:
    """Logits of `build`."""
    with tf.variable_scope("conv"):
        x = tf.nn.relu6(conv(images, 16, 3, training=training))
    x = add_block(x, 24, training, "block0")
    with tf.variable_scope("up"):
        weights = variable("weights", [2, 2, 16, 24])
        height, width = x.shape[1] * 2, x.shape[2] * 2
        shape = tf.stack([tf.shape(x)[0], height, width, 16])
        x = tf.nn.conv2d_transpose(x, weights, shape, 2, "SAME")
        x.set_shape([None, height, width, 16])
        x = tf.nn.relu6(batch_norm(x, training))
    x = add_block(x, 32, training, "block1")
    x = tf.nn.avg_pool2d(x, 2, 2, "VALID", name="pool")
    x = add_block(x, 48, training, "block2")
    with tf.variable_scope("dense"):
        return dense(tf.reduce_mean(x, [1, 2]), classes)


def add_block(x: tf.Tensor, channels: int, training: bool, scope: str) -> tf.Tensor:
    """relu6(1x1(relu6(depthwise(x))) + 1x1(x)), half the size."""
    with tf.variable_scope(scope):
        with tf.variable_scope("shortcut"):
            shortcut = conv(x, channels, 1, 2, training)
        with tf.variable_scope("depthwise"):
            y = tf.nn.relu6(depthwise(x, 2, training))
        with tf.variable_scope("pointwise"):
            return tf.nn.relu6(conv(y, channels, 1, training=training) + shortcut)


def freeze(network: HasGraph, checkpoint: str, last: tf.Operation | None = None) -> tf.GraphDef:
    """The frozen graph up to the logits; `last` runs before."""
    with network.graph.as_default(), tf.Session() as session:
        tf.train.Saver().restore(session, checkpoint)
        if last is not None:
            session.run(last)
        return tf.graph_util.convert_variables_to_constants(
            session, network.graph.as_graph_def(), [LOGITS]
        )
