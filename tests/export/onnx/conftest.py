"""Networks with residuals, groups and activation functions, and what an ONNX file holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import LayerFactors, Record

v1 = tf.compat.v1


@attrs.frozen(eq=False)
class Network:
    """A float graph with its record."""

    graph_def: Any
    record: Record
    x: np.ndarray
    outputs: tuple[str, ...] = ("logits", "probability")

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        """The value of its placeholder."""
        return {"image": self.x}


@pytest.fixture
def residual() -> Callable[..., Network]:
    """Builds a network with every layer: padded, depthwise, residual, in a group, transposed.

    Its batch norms have factors of both signs, and its scales are no powers of two.
    """

    def build(batch: int | None = 4, seed: int = 0) -> Network:
        rng = np.random.default_rng(seed)
        factors: dict[str, LayerFactors] = {}

        def value(*shape: int, low: float | None = None) -> tf.Tensor:
            drawn = rng.normal(0, 0.4, shape) if low is None else rng.uniform(low, 2, shape)
            return tf.constant(drawn.astype(np.float32))

        def norm(y: tf.Tensor, channels: int) -> tf.Tensor:
            parts = value(channels), value(channels), value(channels), value(channels, low=0.5)
            return v1.nn.fused_batch_norm(y, *parts, is_training=False)[0]

        def quantized(y: tf.Tensor, scale: float, offset: int, channels: int | None) -> tf.Tensor:
            scales = None if channels is None else rng.uniform(0.005, 0.02, channels)
            factors[y.op.name] = LayerFactors(scale, offset, scales)
            return y

        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [batch, 12, 12, 3], name="image")
            with v1.name_scope("stem"):
                y = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
                y = tf.nn.conv2d(y, value(3, 3, 3, 8), 2, "VALID", name="Conv2D")
                y = tf.nn.relu(norm(quantized(y, 0.031, -7, 8), 8))
            with v1.name_scope("depthwise"):
                weight = value(3, 3, 8, 1)
                y = v1.nn.depthwise_conv2d_native(y, weight, [1, 1, 1, 1], "SAME", name="conv")
                short = tf.nn.relu6(norm(quantized(y, 0.017, -128, 8), 8))
            with v1.name_scope("body"):
                y = tf.nn.conv2d(short, value(1, 1, 8, 8), 1, "SAME", name="Conv2D")
                y = norm(quantized(y, 5 / 255, -128, 8), 8)
            y = tf.nn.relu(y + short, name="joined")
            with v1.name_scope("group"):
                parts = [
                    tf.nn.conv2d(part, value(3, 3, 4, 4), 1, "SAME", name=f"Conv2D_{index}")
                    for index, part in enumerate(tf.split(y, 2, axis=3))
                ]
                for part in parts:
                    quantized(part, 0.023, -128, 4)
                y = tf.nn.relu(tf.concat([tf.nn.bias_add(p, value(4)) for p in parts], 3))
            with v1.name_scope("up"):
                sizes = tf.stack([tf.shape(y)[0], 12, 12, 6])
                y = tf.nn.conv2d_transpose(y, value(3, 3, 6, 8), sizes, 2, name="deconv")
                y = tf.nn.relu(norm(quantized(y, 0.029, -128, 6), 6))
            y = tf.nn.avg_pool2d(y, 3, 3, "SAME", name="pool/AvgPool")
            y = quantized(y, 0.0433, -128, None)
            with v1.name_scope("head"):
                y = tf.matmul(tf.reshape(y, [-1, 96]), value(96, 5), name="MatMul")
                y = tf.nn.bias_add(quantized(y, 0.021, -100, 1), value(5))
            tf.identity(y, name="logits")
            tf.nn.softmax(y, name="probability")
        x = rng.normal(0, 1, (4, 12, 12, 3)).astype(np.float32)
        return Network(graph.as_graph_def(), Record(factors), x)

    return build
