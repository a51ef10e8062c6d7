"""Small float models for tuning, and samples of their inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from graphquant_export.inputs import LoadedModel

v1 = tf.compat.v1


@pytest.fixture(scope="session")
def mnn() -> None:
    """Skips where MNN's wheel is missing."""
    pytest.importorskip("MNN")


class Net:
    """Builds layers with drawn weights and batch norms in inference mode."""

    def __init__(self, seed: int = 0, data_format: str = "NHWC") -> None:
        self.random = np.random.default_rng(seed)
        self.data_format = data_format

    def vector(self, low: float, high: float, size: int) -> np.ndarray:
        return self.random.uniform(low, high, size).astype(np.float32)

    def weight(self, *shape: int, fan_in: int) -> np.ndarray:
        return self.random.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)

    def channels(self, x: tf.Tensor) -> int:
        return int(x.shape[1 if self.data_format == "NCHW" else -1])

    def norm(self, x: tf.Tensor) -> tf.Tensor:
        count = self.channels(x)
        return v1.nn.fused_batch_norm(
            x,
            self.vector(0.5, 1.5, count),
            self.vector(-0.3, 0.3, count),
            self.vector(-0.2, 0.2, count),
            self.vector(0.5, 1.5, count),
            data_format=self.data_format,
            is_training=False,
        )[0]

    def conv(self, x: tf.Tensor, out: int, size: int, name: str) -> tf.Tensor:
        count = self.channels(x)
        w = self.weight(size, size, count, out, fan_in=size * size * count)
        return tf.nn.conv2d(x, w, 1, "SAME", self.data_format, name=name)

    def depthwise(self, x: tf.Tensor, name: str) -> tf.Tensor:
        w = self.weight(3, 3, self.channels(x), 1, fan_in=9)
        return v1.nn.depthwise_conv2d_native(
            x, w, [1, 1, 1, 1], "SAME", data_format=self.data_format, name=name
        )

    def dense(self, x: tf.Tensor, out: int, name: str) -> tf.Tensor:
        w = self.weight(int(x.shape[-1]), out, fan_in=int(x.shape[-1]))
        return tf.matmul(x, w, name=name)


def classifier(seed: int = 0) -> LoadedModel:
    """Convolution, depthwise and pointwise with batch norm, dense with bias, softmax."""
    with tf.Graph().as_default() as graph:
        net = Net(seed)
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
        y = tf.nn.relu(net.norm(net.conv(x, 8, 3, "conv")))
        y = tf.nn.relu(net.norm(net.depthwise(y, "depthwise")))
        y = tf.nn.relu(net.norm(net.conv(y, 16, 1, "pointwise")))
        y = net.dense(tf.reduce_mean(y, [1, 2]), 5, "dense")
        tf.nn.softmax(4 * tf.nn.bias_add(y, net.vector(-1, 1, 5)), name="prob")
    return LoadedModel(graph.as_graph_def(), ("images",), ("prob",))


def denoiser(seed: int = 0) -> LoadedModel:
    """A convolution, a transposed one, and the difference: an image comes out."""
    with tf.Graph().as_default() as graph:
        net = Net(seed)
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
        y = tf.nn.relu(net.norm(net.conv(x, 8, 3, "conv")))
        y = tf.nn.avg_pool2d(y, 2, 2, "VALID")
        sizes = tf.stack([tf.shape(x)[0], 8, 8, 6])
        y = tf.nn.conv2d_transpose(y, net.weight(2, 2, 6, 8, fan_in=8), sizes, 2, name="up")
        y = tf.nn.relu(tf.nn.bias_add(y, net.vector(-0.1, 0.1, 6)))
        tf.subtract(x, net.conv(y, 3, 3, "last"), name="clean")
    return LoadedModel(graph.as_graph_def(), ("images",), ("clean",))


@pytest.fixture(scope="session")
def models() -> dict[str, Callable[[], LoadedModel]]:
    """What builds each model, by its name."""
    return {"classifier": classifier, "denoiser": denoiser}


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Smooth images, float32 ``[256, 8, 8, 3]``."""
    random = np.random.default_rng(5)
    coarse = random.normal(size=(256, 2, 2, 3)).repeat(4, 1).repeat(4, 2)
    fine = random.normal(size=(256, 8, 8, 3))
    return (coarse + 0.5 * fine).astype(np.float32)


@pytest.fixture(scope="session")
def new_net() -> Callable[..., Net]:
    """A builder of layers, of (seed, data format)."""
    return Net
