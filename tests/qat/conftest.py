"""A small classifier with all five layer types, built for training or for inference."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

import graphquant_qat as amct

v1 = tf.compat.v1
LOGGERS = ("graphquant_core", "graphquant_export", "graphquant_qat")
Array = npt.NDArray[np.float32]


@attrs.frozen(eq=False)
class Network:
    """A graph and the tensors that a training script holds."""

    graph: tf.Graph
    x: tf.Tensor
    labels: tf.Tensor
    logits: tf.Tensor
    loss: tf.Tensor


def batch_norm(x: tf.Tensor, training: bool, negative: bool) -> tf.Tensor:
    """Batch norm by the fused kernel, gamma alternating in sign when `negative`."""
    channels = int(x.shape[-1])
    signs = np.where(np.arange(channels) % 2, -1.0, 1.0) if negative else np.ones(channels)
    with v1.variable_scope("bn"):
        gamma = v1.get_variable("gamma", initializer=signs.astype(np.float32))
        beta = v1.get_variable("beta", [channels], initializer=v1.zeros_initializer())
        mean = v1.get_variable(
            "mean", [channels], initializer=v1.zeros_initializer(), trainable=False
        )
        variance = v1.get_variable(
            "variance", [channels], initializer=v1.ones_initializer(), trainable=False
        )
    if not training:
        y, _, _ = v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False)
        return y
    y, batch_mean, batch_variance = v1.nn.fused_batch_norm(x, gamma, beta)
    for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
        update = v1.assign(moving, moving * 0.8 + batch * 0.2)
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
    return y


def build(training: bool) -> Network:
    """conv, depthwise, transposed conv (each with batch norm), average pool, dense."""
    graph = tf.Graph()
    with graph.as_default():
        v1.set_random_seed(7)
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "x")
        labels = v1.placeholder(tf.int64, [None], "labels")
        with v1.variable_scope("conv"):
            weight = v1.get_variable("weights", [3, 3, 3, 6])
            y = tf.nn.conv2d(x, weight, 2, "SAME", name="Conv2D")
            y = tf.nn.relu(batch_norm(y, training, negative=True))
        with v1.variable_scope("dw"):
            weight = v1.get_variable("weights", [3, 3, 6, 2])
            y = tf.nn.depthwise_conv2d(y, weight, [1, 1, 1, 1], "SAME", name="depthwise")
            y = tf.nn.relu(batch_norm(y, training, negative=True))
        with v1.variable_scope("up"):
            weight = v1.get_variable("weights", [2, 2, 5, 12])
            sizes = tf.stack([tf.shape(y)[0], 8, 8, 5])
            y = tf.nn.conv2d_transpose(y, weight, sizes, 2, name="conv2d_transpose")
            y = tf.nn.relu6(batch_norm(y, training, negative=True))
        y = tf.nn.avg_pool2d(y, 2, 2, "VALID", name="pool/AvgPool")
        with v1.variable_scope("dense"):
            weight = v1.get_variable("weights", [80, 4])
            bias = v1.get_variable("bias", [4], initializer=v1.zeros_initializer())
            y = tf.matmul(tf.reshape(y, [-1, 80]), weight, name="MatMul")
            logits = tf.nn.bias_add(y, bias, name="logits")
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
        tf.nn.softmax(logits, name="prob")
    return Network(graph, x, labels, logits, loss)


def samples(count: int, seed: int = 0) -> tuple[Array, npt.NDArray[np.int64]]:
    """Noise around four patterns, and which of them it is."""
    patterns = np.random.default_rng(99).normal(size=(4, 8, 8, 3))
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    noisy = patterns[labels] + 0.7 * random.normal(size=(count, 8, 8, 3))
    return noisy.astype(np.float32), labels


def train(network: Network, checkpoint: Path, steps: int = 12, restore: str | None = None) -> str:
    """Path of the checkpoint after `steps` steps, from `restore` where it has the variable."""
    with network.graph.as_default():
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            step = v1.train.RMSPropOptimizer(0.002, momentum=0.5).minimize(network.loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            if restore is not None:
                known = v1.train.load_checkpoint(restore).get_variable_to_shape_map()
                variables = [v for v in v1.global_variables() if v.op.name in known]
                v1.train.Saver(variables).restore(session, restore)
            for index in range(steps):
                x, labels = samples(32, index)
                session.run(step, {network.x: x, network.labels: labels})
            return str(v1.train.Saver().save(session, str(checkpoint)))


@attrs.frozen(eq=False)
class Journey:
    """What the documented flow left behind."""

    config_file: str
    record_file: str
    frozen: str
    quantized: str
    checkpoint: str
    probabilities: Array
    x: Array
    labels: npt.NDArray[np.int64]


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """The four calls, from the training graph to the quantised model."""
    folder = tmp_path_factory.mktemp("journey")
    config_file, record_file = str(folder / "config.json"), str(folder / "record.txt")
    training = build(training=True)
    amct.create_quant_retrain_config(config_file, training.graph)
    amct.create_quant_retrain_model(training.graph, config_file, record_file)
    checkpoint = train(training, folder / "retrained", steps=40)
    inference = build(training=False)
    retrain_ops = amct.create_quant_retrain_model(inference.graph, config_file, record_file)
    x, labels = samples(200, seed=1000)
    with inference.graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        v1.train.Saver(v1.global_variables()).restore(session, checkpoint)
        session.run(retrain_ops[-1])
        constant_graph = v1.graph_util.convert_variables_to_constants(
            session, inference.graph.as_graph_def(), ["prob"]
        )
        probabilities = session.run("prob:0", {inference.x: x})
    frozen = folder / "frozen.pb"
    frozen.write_bytes(constant_graph.SerializeToString())
    amct.save_quant_retrain_model(
        str(frozen), ["prob"], record_file, str(folder / "result" / "user_model")
    )
    quantized = folder / "result" / "user_model_quantized.pb"
    return Journey(
        config_file, record_file, str(frozen), str(quantized), checkpoint, probabilities, x, labels
    )


@pytest.fixture
def network() -> Callable[[bool], Network]:
    """Builds the classifier: ``network(training)``."""
    return build


@pytest.fixture
def script_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; the loggers are as before when the test is over."""
    monkeypatch.chdir(tmp_path)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    umask = os.umask(0o022)
    yield tmp_path
    os.umask(umask)
    for logger, handlers, level, propagate in before:
        for handler in set(logger.handlers) - set(handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
