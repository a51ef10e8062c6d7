"""NCHW graphs in NHWC: the same values, and transpositions at the borders alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_export.layout import is_nchw, with_channels_last

v1 = tf.compat.v1
RANDOM = np.random.default_rng(6)


def weight(*shape):
    return RANDOM.normal(0, 1.2 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)


def image():
    return v1.placeholder(tf.float32, [None, 3, 8, 8], name="x")


def conv(x, channels, size=3, stride=1):
    strides = [1, 1, stride, stride]
    w = weight(size, size, x.shape[1], channels)
    return tf.nn.conv2d(x, w, strides, "SAME", data_format="NCHW")


def bias(x):
    return tf.nn.bias_add(x, weight(x.shape[1]), "NCHW")


def norm(x):
    channels = x.shape[1]
    parts = [weight(channels) for _ in range(3)]
    variance = RANDOM.uniform(0.5, 2, channels).astype(np.float32)
    parts.append(variance)
    return v1.nn.fused_batch_norm(x, *parts, data_format="NCHW", is_training=False)[0]


def residual():
    y = tf.nn.relu(norm(conv(image(), 8)))
    y = tf.nn.relu(y + bias(conv(y, 8)))
    return [tf.reduce_mean(y, [2, 3])]


def depthwise():
    y = tf.nn.relu6(conv(image(), 8))
    y = v1.nn.depthwise_conv2d_native(y, weight(3, 3, 8, 1), [1, 1, 2, 2], "SAME", "NCHW")
    return [tf.reduce_max(tf.nn.relu6(bias(y)), [2, 3])]


def upsampled():
    y = tf.nn.relu(conv(image(), 8, stride=2))
    sizes = tf.stack([tf.shape(y)[0], 6, 2 * tf.shape(y)[2], 8])
    y = tf.nn.conv2d_transpose(y, weight(2, 2, 6, 8), sizes, [1, 1, 2, 2], "SAME", "NCHW")
    return [tf.reduce_mean(bias(y), [-1, -2])]


def joined_and_parted():
    y = tf.nn.relu(conv(image(), 8))
    a, b = tf.split(y, 2, 1)
    c, d = tf.split(y, [2, 6], -3)
    y = tf.concat([a, conv(b, 4), c, tf.tanh(d)], 1)
    y = tf.pad(y, [[0, 0], [0, 0], [1, 2], [3, 4]])
    return [tf.reduce_mean(conv(y, 4), [2, 3])]


def pooled():
    y = tf.nn.max_pool2d(conv(image(), 8), 2, 2, "VALID", "NCHW")
    y = tf.nn.avg_pool2d(tf.nn.relu(y), 4, 1, "VALID", "NCHW")
    return [tf.matmul(tf.reshape(y, [-1, 8]), weight(8, 5))]


def scaled():
    y = conv(image(), 8)
    gate = tf.sigmoid(conv(tf.reduce_mean(y, [2, 3], keepdims=True), 8, 1))
    y = y * gate * weight(8, 1, 1) + weight(1, 8, 1, 1)
    y = tf.maximum(y - weight(8, 8) * 2.0, 0.1 * y)
    return [tf.reduce_sum(y, [2, 3])]


def sandwiched():
    y = tf.nn.relu(conv(image(), 8))
    y = v1.image.resize_bilinear(tf.transpose(y, [0, 2, 3, 1]), [16, 16])
    return [tf.reduce_mean(conv(tf.transpose(y, [0, 3, 1, 2]), 4), [2, 3])]


def quantised():
    y = tf.quantization.fake_quant_with_min_max_vars(tf.nn.relu(conv(image(), 8)), 0, 4)
    return [tf.reduce_mean(conv(y, 4), [2, 3])]


def squeezed():
    y = tf.nn.avg_pool2d(conv(image(), 8), 8, 1, "VALID", "NCHW")
    return [tf.matmul(tf.squeeze(y, [2, 3]), weight(8, 5))]


BORDERLESS = (
    *(residual, depthwise, upsampled, joined_and_parted, pooled, scaled, sandwiched),
    *(quantised, squeezed),
)


def flattened():
    y = tf.nn.relu(conv(image(), 8))
    return [tf.matmul(tf.reshape(y, [-1, 512]), weight(512, 5))]


def with_images_as_outputs():
    y = tf.nn.relu(conv(image(), 8))
    return [y, conv(y, 4), tf.nn.softmax(bias(conv(y, 4)), 1), tf.concat([y, y], 1)]


def ordered_by_rows():
    y = conv(image(), 8)
    return [tf.nn.softmax(y), tf.reduce_mean(y, 1), tf.transpose(y, [3, 1, 2, 0])]


def of_two_layouts():
    y = conv(image(), 8)
    z = tf.nn.relu(y)
    last = tf.transpose(z, [0, 2, 3, 1])
    return [tf.nn.conv2d(last, weight(3, 3, 8, 4), 1, "SAME"), z]


OTHERS = (flattened, with_images_as_outputs, ordered_by_rows, of_two_layouts)


def both(build):
    """(the graph in NHWC, values of its outputs, those of the graph as it was)."""
    with tf.Graph().as_default() as graph:
        outputs = [tensor.op.name for tensor in build()]
    model = graph.as_graph_def()
    turned = with_channels_last(model, outputs)
    x = RANDOM.normal(size=(3, 3, 8, 8)).astype(np.float32)
    found = []
    for graph_def in (turned, model):
        with tf.Graph().as_default(), v1.Session() as session:
            tf.import_graph_def(graph_def, name="")
            found.append(session.run([f"{name}:0" for name in outputs], {"x:0": x}))
    return turned, *found


@pytest.mark.parametrize("build", [*BORDERLESS, *OTHERS], ids=lambda build: build.__name__)
def test_the_graph_computes_what_it_did(build):
    """Every output, in the layout and under the name that it had; no op is NCHW any more."""
    turned, found, expected = both(build)
    assert not [node.name for node in turned.node if is_nchw(node)]
    for value, wanted in zip(found, expected, strict=True):
        assert value.shape == wanted.shape
        np.testing.assert_allclose(value, wanted, atol=1e-5)


@pytest.mark.parametrize("build", BORDERLESS, ids=lambda build: build.__name__)
def test_nothing_is_transposed_but_what_is_fed(build):
    """Where what leaves the images has no layout, nothing but the input is transposed."""
    turned, _, _ = both(build)
    transposed = [node.input[0] for node in turned.node if node.op == "Transpose"]
    assert transposed == ["x"]


def test_a_graph_in_nhwc_stays_as_it_is():
    """The very object."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 3])
        tf.nn.conv2d(x, weight(3, 3, 3, 4), 1, "SAME", name="out")
    model = graph.as_graph_def()
    assert with_channels_last(model, ["out"]) is model
