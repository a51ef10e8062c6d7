"""What TensorFlow fuses in a session doesn't end the process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph.frozen import cpu_session

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(2, 6, 6, 3)).astype(np.float32)
WEIGHT = RANDOM.normal(size=(3, 3, 3, 2)).astype(np.float32)
BIAS = RANDOM.normal(size=6).astype(np.float32)
PADS = [[0, 0], [1, 2], [2, 1], [0, 0]]
TAILS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "bias": lambda y: tf.nn.bias_add(y, BIAS),
    "bias and relu6": lambda y: tf.nn.relu6(tf.nn.bias_add(y, BIAS)),
    "scale and shift": lambda y: y * BIAS + BIAS,
    "sum": lambda y: y + BIAS,
}


@pytest.mark.parametrize("tail", sorted(TAILS))
def test_a_depthwise_convolution_with_explicit_padding_runs(tail: str) -> None:
    """Its value is that of a Pad and a convolution without padding, whatever is behind it."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 3], "x")
        options = {"filter": WEIGHT, "strides": [1, 1, 1, 1]}
        own = tf.raw_ops.DepthwiseConv2dNative(
            input=x, padding="EXPLICIT", explicit_paddings=np.ravel(PADS).tolist(), **options
        )
        padded = tf.raw_ops.DepthwiseConv2dNative(input=tf.pad(x, PADS), padding="VALID", **options)
        results = [TAILS[tail](y) for y in (own, padded)]
    with cpu_session(graph) as session:
        found, wanted = session.run(results, {x: IMAGES})
    np.testing.assert_allclose(found, wanted, atol=1e-5)
