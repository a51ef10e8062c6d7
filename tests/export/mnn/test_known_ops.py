"""Graphs that MNN's converter doesn't take as they are, in MNN's runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.mnn import LayerParams, mnn_quantize
from graphquant_export.targets.mnn.int8.target import mnn_target
from graphquant_export.targets.target import MNN

v1 = tf.compat.v1
fake = tf.quantization.fake_quant_with_min_max_vars

pytestmark = pytest.mark.usefixtures("mnn")

RANDOM = np.random.default_rng(4)


def weight(*shape):
    return RANDOM.normal(0, 1.2 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)


def image(channels=3):
    return v1.placeholder(tf.float32, [None, 8, 8, channels], name="x")


def conv(x, channels, size=3):
    y = tf.nn.conv2d(x, weight(size, size, x.shape[-1], channels), 1, "SAME")
    return tf.nn.bias_add(y, weight(channels))


def trained_with_fake_quantisers():
    y = fake(image(), -3.0, 3.0)
    y = tf.nn.conv2d(y, fake(tf.constant(weight(3, 3, 3, 8)), -0.9, 0.9), 1, "SAME")
    y = tf.reshape(fake(tf.nn.relu(y), 0.0, 6.0), [-1, 512])
    return fake(tf.matmul(y, fake(tf.constant(weight(512, 5)), -0.2, 0.2)), -4.0, 4.0)


def with_weights_by_channel():
    w, ends = tf.constant(weight(3, 3, 3, 8)), np.linspace(0.3, 1, 8, dtype=np.float32)
    w = tf.quantization.fake_quant_with_min_max_vars_per_channel(w, -ends, ends, narrow_range=True)
    return conv(tf.nn.relu(tf.nn.conv2d(image(), w, 1, "SAME")), 4)


def with_few_bits_between():
    y = tf.quantization.fake_quant_with_min_max_args(tf.nn.relu(conv(image(), 8)), 0, 4, 4)
    return conv(y + fake(conv(y, 8), -2.0, 2.5, 6), 4)


def with_one_between_floats():
    y = tf.nn.sigmoid(fake(conv(image(), 8), -1.5, 1.0))
    return tf.reduce_mean(conv(y, 6), [1, 2])


def with_one_that_is_shared():
    y = fake(tf.nn.relu(conv(image(), 8)), 0.0, 5.0)
    return conv(tf.concat([y, conv(y, 8, 1)], -1), 4) + tf.reduce_mean(y, -1, keepdims=True)


def normalised():
    y = tf.nn.relu(conv(image(), 8))
    return conv(tf.math.divide_no_nan(y, tf.reduce_max(y, [1, 2, 3], keepdims=True)), 4)


def with_a_product_without_nan():
    y = tf.nn.relu(conv(image(), 8))
    return conv(tf.math.multiply_no_nan(y, tf.sigmoid(y)), 4)


def attention():
    x = v1.placeholder(tf.float32, [None, 6, 16], name="x")
    parts = [
        tf.reshape(tf.matmul(tf.reshape(x, [-1, 16]), weight(16, 16)), [-1, 6, 4, 4])
        for _ in range(3)
    ]
    shares = tf.nn.softmax(tf.einsum("aecd,abcd->acbe", parts[0], parts[1]) * 0.5)
    y = tf.einsum("acbe,aecd->abcd", shares, parts[2])
    return tf.matmul(tf.reshape(y, [-1, 96]), weight(96, 5))


def bilinear():
    y = tf.reduce_mean(tf.nn.relu(conv(image(), 8)), [1, 2])
    y = tf.einsum("bi,bj->bij", y, tf.nn.sigmoid(y))
    return tf.matmul(tf.reshape(y, [-1, 64]), weight(64, 5))


def product_of_matrices():
    """A BatchMatMul without a batch, and a constant that is added to it."""
    y = tf.reshape(tf.nn.relu(conv(image(), 8)), [-1, 8])
    y = tf.raw_ops.BatchMatMulV2(x=y, y=tf.nn.sigmoid(y[:8]), adj_y=True)
    return tf.matmul(tf.reshape(y + weight(1, 8), [-1, 512]), weight(512, 5))


def with_a_weight_that_six_share():
    x = v1.placeholder(tf.float32, [None, 6, 16], name="x")
    w, bias = weight(16, 8), weight(8)
    parts = [tf.tanh(tf.nn.bias_add(tf.matmul(part, w), bias)) for part in tf.unstack(x, axis=1)]
    return tf.matmul(tf.concat(parts, 1), weight(48, 5))


def recurrent():
    x = v1.placeholder(tf.float32, [None, 6, 16], name="x")
    taken, kept, y = weight(16, 8), weight(8, 8), tf.zeros([tf.shape(x)[0], 8])
    for part in tf.unstack(x, axis=1):
        y = tf.tanh(tf.matmul(part, taken) + tf.matmul(y, kept))
    return tf.matmul(y, weight(8, 5))


KINDS = (
    *(trained_with_fake_quantisers, with_weights_by_channel, with_few_bits_between),
    *(with_one_between_floats, with_one_that_is_shared),
    *(normalised, with_a_product_without_nan, attention, bilinear),
    product_of_matrices,
    *(with_a_weight_that_six_share, recurrent),
)


def run(graph_def, feeds):
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run("out:0", {f"{name}:0": value for name, value in feeds.items()})


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_the_model_computes_what_tensorflow_does(tmp_path, build):
    """The simulation that still has the ops, run in TensorFlow, but for what MNN rounds last."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(), name="out")
    model = graph.as_graph_def()
    shape = [16, *graph.get_tensor_by_name("x:0").shape[1:]]
    feeds = {"x": RANDOM.normal(size=shape).astype(np.float32)}
    record = quantize_post_training(model, ["out"], feeds, activation="min_max")
    done: Any = MNN.export(model, ["out"], record, tmp_path / "m", calibration=feeds)
    floats = {row.simulated.name: row.reason for row in done.planned if row.execution != "int8"}
    assert all("follows from shapes alone" in reason for reason in floats.values())
    assert len(floats) == (build is recurrent)
    wanted = run(
        mnn_target(simulate(model, ["out"], record), record, feeds).target.graph_def, feeds
    )
    found = MNN.runtime(done).run(feeds, ["out"])["out"]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() < 0.01 * np.ptp(wanted)
    assert MNN.open(tmp_path / "m", done.source).layers == done.layers


def test_a_loop_is_refused_with_what_can_be_done(tmp_path):
    """By its name, before the converter fails without one."""
    v1.enable_control_flow_v2()
    with tf.Graph().as_default() as graph:
        y = tf.while_loop(lambda y: tf.reduce_max(y) > 1.0, lambda y: (y / 2.0,), (image(),))[0]
        tf.identity(conv(y, 4), name="out")
    model = graph.as_graph_def()
    feeds = {"x": RANDOM.normal(size=(4, 8, 8, 3)).astype(np.float32)}
    record = quantize_post_training(model, ["out"], feeds, activation="min_max")
    with pytest.raises(UnsupportedLayerError, match=r'"while" \(StatelessWhile\).*how many steps'):
        MNN.export(model, ["out"], record, tmp_path / "m", calibration=feeds)


def test_weights_alone_are_quantised_beside_such_ops(tmp_path):
    """The file holds the frozen weights, and computes what the graph does."""
    w = mnn_quantize(weight(32, 8).T, 4, False).values().T
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 32], name="x")
        y = tf.math.divide_no_nan(tf.matmul(fake(x, -2.0, 2.0), w, name="dense"), 3.0)
        tf.identity(y, name="out")
    model = graph.as_graph_def()
    params = [LayerParams("dense__matmul_converted", 4, False)]
    done: Any = MNN.export(model, ["out"], params, tmp_path / "m")
    feeds = {"x": RANDOM.normal(size=(9, 32)).astype(np.float32)}
    found = MNN.runtime(done).run(feeds, ["out"])["out"]
    np.testing.assert_allclose(found, run(model, feeds), atol=1e-5)
    assert MNN.open(tmp_path / "m", done.source).layers == done.layers


def _zeros(tensor):
    tensor.tensor_shape.dim.add(size=96)


def _one_value(tensor):
    tensor.tensor_shape.dim.add(size=96)
    tensor.float_val.append(0.7)


def _a_tail_that_repeats(tensor):
    tensor.tensor_shape.dim.add(size=96)
    tensor.float_val.extend([0.1, -0.4, 0.9])


@pytest.mark.parametrize("fill", [_zeros, _one_value, _a_tail_that_repeats])
@pytest.mark.parametrize("whole", [True, False], ids=["int8", "weights"])
def test_a_constant_may_leave_out_what_repeats(tmp_path, fill, whole):
    """As TensorFlow's own freezing writes a bias of many equal values."""
    w = mnn_quantize(weight(16, 96).T, 8, False).values().T
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 16], name="x")
        y = tf.matmul(x, w, name="dense")
        tf.identity(tf.sigmoid(y * v1.placeholder(tf.float32, [96], name="factor")), name="out")
    model = graph.as_graph_def()
    (factor,) = [node for node in model.node if node.name == "factor"]
    factor.op = "Const"
    del factor.attr["shape"]
    factor.attr["value"].tensor.dtype = tf.float32.as_datatype_enum
    fill(factor.attr["value"].tensor)
    feeds = {"x": RANDOM.normal(size=(16, 16)).astype(np.float32)}
    params: Any = [LayerParams("dense__matmul_converted", 8, False)]
    if whole:
        params = quantize_post_training(model, ["out"], feeds, activation="min_max", target="mnn")
    done: Any = MNN.export(model, ["out"], params, tmp_path / "m")
    found, wanted = MNN.runtime(done).run(feeds, ["out"])["out"], run(model, feeds)
    assert np.abs(found - wanted).max() <= (0.02 if whole else 1e-5)
