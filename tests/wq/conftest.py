"""A small trained task, and the real converter."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

v1 = tf.compat.v1


@pytest.fixture
def mnn() -> None:
    """Skips a test that needs the wheel MNN where it isn't installed."""
    try:
        importlib.metadata.version("MNN")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('needs the wheel MNN: pip install "graphquant-export[mnn]"')


@attrs.frozen(eq=False)
class SmallModel:
    """A graph with every kind of layer and batch norm behind two of them."""

    graph: tf.Graph
    x: tf.Tensor
    labels: tf.Tensor
    probabilities: tf.Tensor
    loss: tf.Tensor

    def trainer(self, rate: float = 1e-2) -> tf.Operation:
        """One step of training."""
        with self.graph.as_default():
            updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
            with tf.control_dependencies(updates):
                return v1.train.AdamOptimizer(rate).minimize(self.loss)

    def initializer(self) -> tf.Operation:
        """Gives every global variable its first value."""
        with self.graph.as_default():
            return v1.global_variables_initializer()

    def freeze(self, session: Any) -> Any:
        """As a user freezes it."""
        return v1.graph_util.convert_variables_to_constants(session, session.graph_def, ["prob"])


DATA = np.random.default_rng(7).uniform(size=(40, 8, 8, 1)).astype(np.float32)
LABELS = (DATA.mean(axis=(1, 2, 3)) > 0.5).astype(np.int32)


def _norm(x: tf.Tensor, name: str, training: bool) -> tf.Tensor:
    with v1.variable_scope(name):
        size = [x.shape[-1]]
        gamma = v1.get_variable("gamma", size, initializer=v1.random_normal_initializer(0, 1))
        beta = v1.get_variable("beta", size, initializer=v1.zeros_initializer())
        zeros, ones = v1.zeros_initializer(), v1.ones_initializer()
        mean = v1.get_variable("mean", size, initializer=zeros, trainable=False)
        variance = v1.get_variable("variance", size, initializer=ones, trainable=False)
    if not training:
        return v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False)[0]
    y, batch_mean, batch_variance = v1.nn.fused_batch_norm(x, gamma, beta)[:3]
    for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
        update = v1.assign_sub(moving, (moving - batch) * 0.1)
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
    return y


@pytest.fixture(params=[False, True], ids=["reference variables", "resource variables"])
def both_kinds_of_variables(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a test with the two kinds of variables that TensorFlow has."""
    switch = {True: v1.enable_resource_variables, False: v1.disable_resource_variables}
    before = v1.resource_variables_enabled()
    switch[request.param]()
    yield
    switch[before]()


@pytest.fixture
def small_model() -> Callable[..., SmallModel]:
    """Builds a SmallModel for training or for inference."""

    def build(training: bool = True) -> SmallModel:
        with tf.Graph().as_default() as graph:
            v1.set_random_seed(3)
            x = v1.placeholder(tf.float32, [None, 8, 8, 1], "x")
            labels = v1.placeholder(tf.int32, [None])

            def weight(name: str, *shape: int) -> tf.Tensor:
                return v1.get_variable(name, shape, initializer=v1.glorot_uniform_initializer())

            y = tf.nn.conv2d(x, weight("conv/w", 3, 3, 1, 8), 2, "SAME", name="conv/Conv2D")
            y = tf.nn.relu(_norm(y, "conv/norm", training))
            w = weight("depthwise/w", 3, 3, 8, 1)
            y = v1.nn.depthwise_conv2d_native(y, w, [1] * 4, "SAME", name="depthwise/depthwise")
            y = tf.nn.relu6(y)
            y = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.stack([tf.shape(x)[0], 8, 8, 6]),
                filter=weight("up/w", 3, 3, 6, 8),
                out_backprop=y,
                strides=[1, 2, 2, 1],
                padding="SAME",
                name="up/deconv",
            )
            y = tf.nn.bias_add(y, weight("up/bias", 6), name="up/BiasAdd")
            y = tf.nn.relu(_norm(y, "up/norm", training))
            y = tf.reduce_mean(y, [1, 2])
            y = tf.nn.relu(tf.matmul(y, weight("dense/w", 6, 12), name="dense/MatMul"))
            w = weight("logits/w", 2, 12)
            y = tf.matmul(y, w, transpose_b=True, name="logits/MatMul")
            probabilities = tf.nn.softmax(y, name="prob")
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=y)
            loss = tf.reduce_mean(losses)
        return SmallModel(graph, x, labels, probabilities, loss)

    return build


@pytest.fixture
def float_checkpoint(small_model: Callable[..., SmallModel], tmp_path: Path) -> Iterator[str]:
    """A checkpoint of the float model, made by a Saver of all variables."""
    model = small_model()
    step = model.trainer()
    with model.graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        for _ in range(20):
            session.run(step, {model.x: DATA, model.labels: LABELS})
        yield v1.train.Saver().save(session, str(tmp_path / "float" / "model.ckpt"))
