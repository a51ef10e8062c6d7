"""Models in NCHW, which MNN's converter would make wrong ones of: they are converted in NHWC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph.frozen import load_graph_def
from graphquant_export.layout import is_nchw
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.mnn import LayerParams, mnn_quantize
from graphquant_export.targets.mnn.int8.target import mnn_target
from graphquant_export.targets.target import MNN

v1 = tf.compat.v1
pytestmark = pytest.mark.usefixtures("mnn")

RANDOM = np.random.default_rng(8)


def weight(*shape):
    return RANDOM.normal(0, 1.2 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)


def image():
    return v1.placeholder(tf.float32, [None, 3, 8, 8], name="x")


def conv(x, channels, name, size=3, stride=1, groups=1):
    w = weight(size, size, x.shape[1] // groups, channels)
    return tf.nn.conv2d(x, w, [1, 1, stride, stride], "SAME", data_format="NCHW", name=name)


def bias(x, name=None):
    return tf.nn.bias_add(x, weight(x.shape[1]), "NCHW", name=name)


def residual():
    y = tf.nn.relu(bias(conv(image(), 16, "c1")))
    y = y + conv(y, 16, "c2", 1)
    y = tf.nn.avg_pool2d(y, 2, 2, "VALID", "NCHW", name="pool")
    return tf.matmul(tf.reshape(y, [-1, 256]), weight(256, 5), name="out"), "out"


def depthwise():
    y = tf.nn.relu6(conv(image(), 16, "c1"))
    y = v1.nn.depthwise_conv2d_native(
        y, weight(3, 3, 16, 1), [1, 1, 2, 2], "SAME", "NCHW", name="dw"
    )
    y = tf.nn.relu(bias(y))
    return tf.reduce_mean(bias(conv(y, 6, "c2", 1)), [2, 3], name="out"), "out"


def upsampled():
    y = tf.nn.relu(bias(conv(image(), 8, "c1", stride=2)))
    sizes = tf.stack([tf.shape(y)[0], 6, 8, 8])
    y = tf.nn.conv2d_transpose(
        y, weight(2, 2, 6, 8), sizes, [1, 1, 2, 2], "SAME", "NCHW", name="up"
    )
    return bias(conv(tf.nn.relu(y), 4, "c2"), "out"), "out"


def ending_in_a_layer():
    y = tf.nn.relu(conv(image(), 8, "c1"))
    return conv(tf.concat([y, tf.nn.relu(conv(y, 8, "c2", 1))], 1), 4, "c3"), "c3"


def in_groups():
    y = tf.nn.relu(bias(conv(image(), 8, "c1")))
    y = tf.nn.relu(conv(y, 8, "c2", groups=2))
    return tf.nn.softmax(tf.reduce_mean(conv(y, 5, "c3", 1), [2, 3]), name="out"), "out"


def ending_in_a_relu():
    y = conv(tf.pad(image(), [[0, 0], [0, 0], [1, 1], [2, 0]]), 8, "c1", stride=2)
    return tf.nn.relu(bias(conv(tf.nn.max_pool2d(y, 2, 2, "SAME", "NCHW"), 6, "c2")), "out"), "out"


KINDS = (residual, depthwise, upsampled, ending_in_a_layer, in_groups, ending_in_a_relu)


def run(graph_def, names, feeds):
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(names, {f"{name}:0": value for name, value in feeds.items()})


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_the_model_computes_what_tensorflow_does(tmp_path, build):
    """The outputs and what each layer returns, in NCHW and under the names of the model."""
    with tf.Graph().as_default() as graph:
        _, output = build()
    model = graph.as_graph_def()
    feeds = {"x": RANDOM.normal(size=(16, 3, 8, 8)).astype(np.float32)}
    record = quantize_post_training(model, [output], feeds, activation="min_max")
    done: Any = MNN.export(model, [output], record, tmp_path / "m", calibration=feeds)
    assert not [node.name for node in load_graph_def(done.frozen_path).node if is_nchw(node)]
    floats = {row.simulated.name for row in done.planned if row.execution != "int8"}
    assert floats <= {"pool", "up"}
    runtime = MNN.runtime(done)
    target = mnn_target(simulate(model, [output], record), record, feeds).target
    (wanted,) = run(target.graph_def, [f"{output}:0"], feeds)
    found = runtime.run(feeds, [output])[output]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() < 0.01 * np.ptp(wanted)
    layers = runtime.layer_outputs(feeds)
    assert set(layers) == set(record)
    values = run(target.graph_def, [f"{row.tensor}:0" for row in layers.values()], feeds)
    for (name, row), value in zip(layers.items(), values, strict=True):
        assert row.value.shape == value.shape, name
        assert np.abs(row.value - value).mean() < 0.01 * np.ptp(value), name
    again = MNN.open(tmp_path / "m", done.source)
    assert again.layers == done.layers
    assert MNN.runtime(again).executions() == runtime.executions()


def test_weights_alone_are_quantised_in_nchw(tmp_path):
    """The file holds the frozen weights, and computes what the graph does."""
    w = mnn_quantize(weight(3, 3, 3, 8).transpose(3, 2, 0, 1).reshape(8, -1), 4, False).values()
    w = np.ascontiguousarray(w.reshape(8, 3, 3, 3).transpose(2, 3, 1, 0))
    with tf.Graph().as_default() as graph:
        y = tf.nn.conv2d(image(), w, 1, "SAME", data_format="NCHW", name="c1")
        tf.nn.relu(bias(y), name="out")
    model = graph.as_graph_def()
    done: Any = MNN.export(model, ["out"], [LayerParams("BiasAdd", 4, False)], tmp_path / "m")
    feeds = {"x": RANDOM.normal(size=(4, 3, 8, 8)).astype(np.float32)}
    runtime = MNN.runtime(done)
    (wanted,) = run(model, ["out:0"], feeds)
    np.testing.assert_allclose(runtime.run(feeds, ["out"])["out"], wanted, atol=1e-4)
    (layer,) = runtime.layer_outputs(feeds).values()
    assert layer.value.shape == wanted.shape
    assert MNN.open(tmp_path / "m", done.source).layers == done.layers
