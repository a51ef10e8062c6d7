"""What is added behind a quantised layer lies on the int32 grid that it is deployed on."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.graph.frozen import evaluate_constants
from graphquant_core.graph.frozen.fold_batch_norm import folds
from graphquant_core.record import parse_record
from graphquant_export.integer_reference import integer_reference
from graphquant_export.quantized.layer_integers import needed_tensors
from graphquant_export.quantized.model import quantized_model
from graphquant_export.quantized.simulate import simulate

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)
CHANNELS = 6


def vector(low, high, size=CHANNELS):
    return RANDOM.uniform(low, high, size).astype(np.float32)


def layer(kind, x):
    """The op of a layer with `CHANNELS` channels, called "layer"."""

    def weight(*shape):
        return v1.get_variable(f"w_{kind}", initializer=RANDOM.normal(size=shape).astype("f4"))

    if kind == "matmul":
        return tf.matmul(tf.reshape(x, [-1, 8 * 8 * 3]), weight(8 * 8 * 3, CHANNELS), name="layer")
    if kind == "depthwise":
        return v1.nn.depthwise_conv2d_native(
            x, weight(3, 3, 3, 2), [1, 1, 1, 1], "SAME", name="layer"
        )
    if kind == "transposed":
        sizes = tf.stack([tf.shape(x)[0], 16, 16, CHANNELS])
        return tf.nn.conv2d_transpose(x, weight(2, 2, CHANNELS, 3), sizes, 2, name="layer")
    if kind == "grouped":
        done = []
        for index, part in enumerate(tf.split(tf.concat([x, -x], 3), 2, 3)):
            w = v1.get_variable(f"w{index}", initializer=vector(-1, 1, (3, 3, 3, CHANNELS // 2)))
            b = v1.get_variable(f"b{index}", initializer=vector(-1, 1, CHANNELS // 2))
            y = tf.nn.conv2d(part, w, 1, "SAME", name=f"part{index}")
            done.append(tf.nn.bias_add(y, b))
        return tf.concat(done, 3, name="layer")
    if kind == "squeezed":
        y = tf.nn.conv2d(x, weight(8, 8, 3, CHANNELS), 1, "VALID", name="layer")
        return tf.squeeze(y, [1, 2])
    if kind == "nchw":
        x = tf.transpose(x, [0, 3, 1, 2])
        return tf.nn.conv2d(x, weight(3, 3, 3, CHANNELS), 1, "SAME", "NCHW", name="layer")
    return tf.nn.conv2d(x, weight(3, 3, 3, CHANNELS), 1, "SAME", name="layer")


def shape(nchw):
    return [1, CHANNELS, 1, 1] if nchw else [CHANNELS]


def bias(y, nchw):
    value = v1.get_variable("bias", initializer=vector(-1, 1))
    return tf.nn.bias_add(y, value, data_format="NCHW" if nchw else None)


def added(y, nchw):
    return y + v1.get_variable("added", initializer=vector(-1, 1).reshape(shape(nchw)))


def number(y, _):
    return y + v1.get_variable("number", initializer=np.float32(0.377))


def taken_off(y, nchw):
    return y - v1.get_variable("off", initializer=vector(-1, 1).reshape(shape(nchw)))


def scaled(y, nchw):
    return y * v1.get_variable("factor", initializer=vector(-2, 2).reshape(shape(nchw)))


def norm(y, nchw):
    gamma, beta, mean = (
        v1.get_variable(n, initializer=vector(-1, 1)) for n in ("gamma", "beta", "mean")
    )
    variance = v1.get_variable("variance", initializer=vector(0.3, 3))
    if y.shape.rank == 2:
        return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)
    data_format = "NCHW" if nchw else "NHWC"
    return v1.nn.fused_batch_norm(
        y, gamma, beta, mean, variance, data_format=data_format, is_training=False
    )[0]


def older(op):
    def norm(y, _):
        gamma, beta, mean = (
            v1.get_variable(n, initializer=vector(-1, 1)) for n in ("gamma", "beta", "mean")
        )
        variance = v1.get_variable("variance", initializer=vector(0.3, 3))
        parameters = {"scale": gamma, "offset": beta, "mean": mean, "variance": variance}
        return op(x=y, **parameters, epsilon=1e-3, is_training=False)[0]

    return norm


def unfused(y, nchw):
    mean, beta, gamma = (
        v1.get_variable(n, initializer=vector(-1, 1).reshape(shape(nchw))) for n in ("m", "b", "g")
    )
    variance = v1.get_variable("v", initializer=vector(0.3, 3).reshape(shape(nchw)))
    return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)


TAILS = {
    "bias": [bias],
    "subtracted": [taken_off],
    "bias norm": [bias, norm],
    "norm": [norm],
    "norm 1": [older(tf.raw_ops.FusedBatchNorm)],
    "norm 2": [older(tf.raw_ops.FusedBatchNormV2)],
    "unfused": [unfused],
    "norm added": [norm, added],
    "added scaled": [added, scaled],
    "bias norm scaled number": [bias, norm, scaled, number],
}
CASES = [
    *(("conv", tail) for tail in TAILS),
    *(
        (kind, tail)
        for kind in ("nchw", "depthwise", "transposed", "matmul", "grouped", "squeezed")
        for tail in ("bias", "bias norm scaled number")
    ),
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def deployed(request, tmp_path_factory):
    """(record, frozen graph) of a layer and what folds into it."""
    return rewritten(*request.param, tmp_path_factory.mktemp("layer"))


def rewritten(kind, tail, tmp_path):
    """(graph, its input, record, frozen graph, output before the rewrite)."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "x")
        y = layer(kind, x)
        for step in TAILS[tail]:
            y = step(y, kind == "nchw")
        tf.identity(y, name="y")
        config, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
        amct.create_quant_retrain_config(config, graph)
        ops = amct.create_quant_retrain_model(graph, config, record_file)
        clips = {v.op.name.rpartition("_")[2]: v for v in ops[:-1]}
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run([v1.assign(clips["max"], 3.0), v1.assign(clips["min"], -3.0)])
            session.run(v1.assign(clips["batches"], 1))
            record = parse_record(session.run(ops[-1]).decode())
            freeze = v1.graph_util.convert_variables_to_constants
            frozen = freeze(session, graph.as_graph_def(), ["y"])
    return record, frozen


def test_the_frozen_bias_is_the_deployed_one(deployed):
    """b / (scale_d * scale_w) of the frozen graph is the int32 code, to float32's rounding."""
    record, frozen = deployed
    for layer in quantized_model(frozen, ["y"], record).layers:
        tensors, graph = needed_tensors(layer.place), layer.op.graph
        found = evaluate_constants(graph, tensors)
        values = dict(zip([t.name for t in tensors], found, strict=True))
        fold = folds(layer.place.tail, values, len(layer.bias_codes))[-1]
        steps = fold.bias / layer.integers.scale.astype(np.float64)
        np.testing.assert_allclose(steps, layer.bias_codes, atol=1e-2)


def test_the_fake_quantised_graph_computes_what_is_deployed(deployed):
    """Every value of the frozen graph is that of exact integers, to a thousandth of its step."""
    record, frozen = deployed
    x = np.random.default_rng(1).uniform(-3, 3, (4, 8, 8, 3)).astype(np.float32)
    simulated = simulate(frozen, ["y"], record)
    (exact,) = integer_reference(simulated.exact.graph_def, ["y"], {"x": x})
    with tf.Graph().as_default() as graph, v1.Session() as session:
        tf.import_graph_def(frozen, name="")
        found = session.run(graph.get_tensor_by_name("y:0"), {"x:0": x})
    assert np.abs(found - exact).max() <= 2e-3 * np.ptp(exact) / 255


def test_a_bias_is_trained_straight_through(tmp_path):
    """d loss / d bias is that of the float graph: the sum of the gradient over all values."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [2, 8, 8, 3], "x")
        y = number(bias(layer("conv", x), False), False)
        config, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
        amct.create_quant_retrain_config(config, graph)
        amct.create_quant_retrain_model(graph, config, record_file)
        variables = [v for v in v1.trainable_variables() if v.op.name in ("bias", "number")]
        found = tf.gradients(tf.reduce_sum(y), variables)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            x_value = RANDOM.normal(size=(2, 8, 8, 3))
            by_bias, by_number = session.run(found, {x: x_value})
    np.testing.assert_allclose(by_bias, np.full(CHANNELS, 128.0))
    np.testing.assert_allclose(by_number, 128.0 * CHANNELS)


def test_a_bias_is_rounded_once(tmp_path):
    """Calling it again for the inference graph changes nothing."""
    graph = tf.Graph()
    with graph.as_default():
        bias(layer("conv", v1.placeholder(tf.float32, [2, 8, 8, 3], "x")), False)
        config, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
        amct.create_quant_retrain_config(config, graph)
        amct.create_quant_retrain_model(graph, config, record_file)
        (taken,) = [list(op.inputs) for op in graph.get_operations() if op.type == "BiasAdd"]
        amct.create_quant_retrain_model(graph, config, record_file)
        (again,) = [list(op.inputs) for op in graph.get_operations() if op.type == "BiasAdd"]
    assert "_on_grid/" in taken[1].name
    assert all(one is other for one, other in zip(taken, again, strict=True))


def test_what_stands_before_a_batch_norm_in_training_mode_is_left_alone(tmp_path):
    """Its sum is not fixed: a bias there is centred away, and beta follows the statistics."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [2, 8, 8, 3], "x")
        y = bias(layer("conv", x), False)
        gamma, beta = vector(0.5, 1), vector(-1, 1)
        y = v1.nn.fused_batch_norm(y, gamma, beta)[0]
        tf.identity(y, name="y")
        config, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
        amct.create_quant_retrain_config(config, graph)
        amct.create_quant_retrain_model(graph, config, record_file)
    assert not [op for op in graph.get_operations() if "_on_grid/" in op.name]
