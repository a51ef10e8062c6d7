"""Whichever way a graph is written, what is deployed computes what was simulated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.graph import plan_graph
from graphquant_core.graph.frozen import load_graph_def
from graphquant_core.record import read_record

v1 = tf.compat.v1
Build = Callable[[tf.Tensor], tf.Tensor]


@attrs.frozen
class Form:
    """A way to write a graph: its input, its builder, how many layers and AscendDequants it has."""

    shape: tuple[int, ...]
    build: Build
    layers: int
    v1_control_flow: bool = False
    dequants: int | None = None


def weight(
    name: str, *shape: int, dtype: tf.DType = tf.float32, resource: bool = True
) -> tf.Tensor:
    values = np.random.default_rng(len(name)).normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
    return v1.get_variable(name, initializer=tf.constant(values, dtype), use_resource=resource)


def vector(name: str, size: int, low: float = -1.0, high: float = 1.0) -> tf.Tensor:
    values = np.random.default_rng(len(name) + size).uniform(low, high, size)
    return v1.get_variable(name, initializer=values.astype(np.float32))


def conv(x: tf.Tensor, channels: int = 6, name: str = "conv", **options: object) -> tf.Tensor:
    kernel = weight(f"{name}/w", 3, 3, int(x.shape[-1]), channels)
    return tf.nn.conv2d(x, kernel, 1, "SAME", name=f"{name}/Conv2D", **options)


def reference_variable(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, weight("w", 3, 3, 4, 6, resource=False), 1, "SAME")


def partitioned(x: tf.Tensor) -> tf.Tensor:
    with v1.variable_scope("p", partitioner=v1.fixed_size_partitioner(2, axis=3)):
        return tf.nn.conv2d(x, tf.convert_to_tensor(v1.get_variable("w", [3, 3, 4, 6])), 1, "SAME")


def stored_as_float16(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(
        x, tf.cast(weight("w", 3, 3, 4, 6, dtype=tf.float16), tf.float32), 1, "SAME"
    )


def constant_weight(x: tf.Tensor) -> tf.Tensor:
    values = np.random.default_rng(0).normal(size=(3, 3, 4, 6))
    return tf.nn.conv2d(x, tf.constant(values, tf.float32), 1, "SAME")


def called_twice(x: tf.Tensor) -> tf.Tensor:
    kernel = weight("w", 3, 3, 4, 4)
    return tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")), kernel, 1, "SAME")


def separable(x: tf.Tensor) -> tf.Tensor:
    depthwise, pointwise = weight("dw", 3, 3, 4, 2), weight("pw", 1, 1, 8, 5)
    return tf.nn.separable_conv2d(x, depthwise, pointwise, [1, 1, 1, 1], "SAME")


def conv1d(x: tf.Tensor) -> tf.Tensor:
    y = tf.nn.conv1d(x, weight("w", 3, 4, 6), 1, "SAME")
    return tf.nn.relu(tf.nn.bias_add(y, vector("b", 6)))


def dense_of_rank_3(x: tf.Tensor) -> tf.Tensor:
    return tf.tensordot(x, weight("w", 4, 6), 1) + vector("b", 6)


def keras_3(x: tf.Tensor) -> tf.Tensor:
    # Averages of 4 values on a grid lie on ties of the next layer's, which TensorFlow's kernel
    # rounds up in training and the deployed graph rounds to even: so windows of 9.
    layers = tf.keras.layers
    y = layers.Conv2D(6, 3, padding="same", name="first")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="norm")(y, training=False))
    y = layers.DepthwiseConv2D(3, padding="same", name="second")(y)
    y = layers.Conv2DTranspose(5, 2, 2, name="third")(y)
    return layers.Dense(3, name="last")(layers.Flatten()(layers.AveragePooling2D(3)(y)))


def padded(x: tf.Tensor) -> tf.Tensor:
    padded = tf.pad(x, [[0, 0], [1, 1], [2, 1], [0, 0]])
    return tf.nn.conv2d(padded, weight("w", 3, 3, 4, 6), 2, "VALID")


def bias_by(add: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Build:
    return lambda x: tf.nn.relu(add(conv(x), vector("b", 6)))


def explicit_padding(x: tf.Tensor) -> tf.Tensor:
    pads = [[0, 0], [2, 1], [1, 0], [0, 0]]
    return tf.nn.conv2d(x, weight("w", 3, 3, 4, 6), 1, pads)


def dilated(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, weight("w", 3, 3, 4, 6), 1, "SAME", dilations=2)


def space_to_batch(x: tf.Tensor) -> tf.Tensor:
    y = tf.space_to_batch(x, [2, 2], [[2, 2], [2, 2]])
    y = tf.nn.conv2d(y, weight("w", 3, 3, 4, 6), 1, "VALID")
    return tf.nn.bias_add(tf.batch_to_space(y, [2, 2], [[0, 0], [0, 0]]), vector("b", 6))


def grouped(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, weight("w", 3, 3, 2, 6), 1, "SAME")


def grouped_by_split(x: tf.Tensor) -> tf.Tensor:
    parts = tf.split(x, 2, axis=3)
    done = [
        tf.nn.conv2d(part, weight(f"w{index}", 3, 3, 2, 3), 1, "SAME")
        for index, part in enumerate(parts)
    ]
    y, _, _ = v1.nn.fused_batch_norm(
        tf.concat(done, 3), vector("g", 6), vector("bb", 6), vector("mean", 6),
        vector("variance", 6, 0.5, 2.0), is_training=False,
    )  # fmt: skip
    return y


def unfused_batch_norm(x: tf.Tensor) -> tf.Tensor:
    variance = vector("variance", 6, 0.5, 2.0)
    y = tf.nn.batch_normalization(
        conv(x), vector("mean", 6), variance, vector("beta", 6), vector("gamma", 6), 1e-3
    )
    return tf.nn.relu6(y)


def scores_by_convolution(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(tf.nn.bias_add(conv(x), vector("b", 6)))


def residual(x: tf.Tensor) -> tf.Tensor:
    y = tf.nn.relu(conv(x, 4, "first"))
    return tf.nn.relu(conv(y, 4, "second") + x)


def channels_first(x: tf.Tensor) -> tf.Tensor:
    y = tf.nn.conv2d(x, weight("w", 3, 3, 4, 6), 1, "SAME", data_format="NCHW")
    y, _, _ = v1.nn.fused_batch_norm(
        tf.nn.bias_add(y, vector("b", 6), "NCHW"), vector("g", 6), vector("bb", 6),
        vector("mean", 6), vector("variance", 6, 0.5, 2.0), is_training=False, data_format="NCHW",
    )  # fmt: skip
    y = tf.nn.conv2d(tf.nn.relu(y), weight("other", 3, 3, 6, 5), 2, "SAME", data_format="NCHW")
    return tf.nn.bias_add(y, vector("bbb", 5), "NCHW")


def dead_channels(x: tf.Tensor) -> tf.Tensor:
    """A channel without weights, one that its batch norm kills, one that is tiny."""
    alive = np.random.default_rng(0).normal(size=(3, 3, 4, 6)) * [0, 1, 1e-9, 1, 1, 1]
    kernel = v1.get_variable("w", initializer=alive.astype(np.float32))
    gamma = v1.get_variable("gamma", initializer=np.float32([1, 0, 1, 1, -1, 1e-12]))
    y, _, _ = v1.nn.fused_batch_norm(
        tf.nn.conv2d(x, kernel, 1, "SAME"), gamma, vector("beta", 6), vector("mean", 6),
        vector("variance", 6, 0.5, 2.0), is_training=False,
    )  # fmt: skip
    return tf.nn.relu(y)


def silent_layer(x: tf.Tensor) -> tf.Tensor:
    """The second convolution sees nothing but zeros."""
    quiet = tf.nn.relu(conv(x, 4, "first") - 100.0)
    return conv(quiet, 6, "second") + conv(x, 6, "third")


def in_a_cond(x: tf.Tensor) -> tf.Tensor:
    first, second = weight("w", 3, 3, 4, 6), weight("other", 3, 3, 4, 6)
    return v1.cond(
        tf.reduce_mean(x) > 0.0,
        lambda: tf.nn.conv2d(x, first, 1, "SAME"),
        lambda: tf.nn.conv2d(x, second, 1, "SAME"),
    )


IMAGE = (8, 8, 4)
FORMS = {
    "reference variable": Form(IMAGE, reference_variable, 1),
    "partitioned variable": Form(IMAGE, partitioned, 1),
    "float16 variable": Form(IMAGE, stored_as_float16, 1),
    "constant": Form(IMAGE, constant_weight, 1),
    "layer called twice": Form(IMAGE, called_twice, 2),
    "separable convolution": Form(IMAGE, separable, 2),
    "conv1d": Form((9, 4), conv1d, 1),
    "dense of rank 3": Form((5, 4), dense_of_rank_3, 1),
    "Keras 3": Form(IMAGE, keras_3, 5),
    "pad before conv": Form(IMAGE, padded, 1),
    "bias by BiasAdd": Form(IMAGE, bias_by(tf.nn.bias_add), 1),
    "bias by Add": Form(IMAGE, bias_by(lambda x, b: tf.raw_ops.Add(x=x, y=b)), 1),
    "bias by AddV2": Form(IMAGE, bias_by(lambda x, b: tf.raw_ops.AddV2(x=x, y=b)), 1),
    "explicit padding": Form(IMAGE, explicit_padding, 1),
    "dilated": Form(IMAGE, dilated, 1),
    "dilated by space-to-batch": Form(IMAGE, space_to_batch, 1),
    "grouped convolution": Form(IMAGE, grouped, 1),
    "groups by split and concat": Form(IMAGE, grouped_by_split, 2, dequants=1),
    "unfused batch norm": Form(IMAGE, unfused_batch_norm, 1),
    "scores by convolution": Form(IMAGE, scores_by_convolution, 1),
    "residual": Form(IMAGE, residual, 2),
    "channels first": Form((4, 8, 8), channels_first, 2),
    "dead and tiny channels": Form(IMAGE, dead_channels, 1),
    "layer without a signal": Form(IMAGE, silent_layer, 3),
    "v1 cond": Form(IMAGE, in_a_cond, 2, v1_control_flow=True),
}


@contextlib.contextmanager
def control_flow(v1_control_flow: bool) -> Iterator[None]:
    if not v1_control_flow:
        yield
        return
    v1.disable_control_flow_v2()
    try:
        yield
    finally:
        v1.enable_control_flow_v2()


@pytest.mark.parametrize("name", FORMS)
def test_the_deployed_graph_computes_what_the_fake_quantised_graph_computes(
    name: str, tmp_path: Path
) -> None:
    """Mean difference under 0.5% of the range, correlation above 0.999; nothing is skipped."""
    form = FORMS[name]
    config_file, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
    batch = np.random.default_rng(1).normal(size=(16, *form.shape)).astype(np.float32)
    graph = tf.Graph()
    with graph.as_default(), control_flow(form.v1_control_flow):
        v1.set_random_seed(0)
        x = v1.placeholder(tf.float32, [None, *form.shape], "x")
        output = tf.identity(form.build(x), name="output")
        plan = plan_graph(graph)
        assert (len(plan.layers), plan.skips) == (form.layers, ())
        amct.create_quant_retrain_config(config_file, graph)
        retrain_ops = amct.create_quant_retrain_model(graph, config_file, record_file)
        clips = [v for v in v1.trainable_variables() if "ULQ" in v.op.name]
        gradients = tf.gradients(tf.reduce_sum(output**2), clips)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for sign in (1, -1):  # both sides of a cond
                session.run(gradients, {x: sign * batch})
            session.run(retrain_ops[-1])
            expected = session.run(output, {x: batch})
            frozen = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["output"]
            )
    pb = tmp_path / "frozen.pb"
    pb.write_bytes(frozen.SerializeToString())
    amct.save_quant_retrain_model(str(pb), ["output"], record_file, str(tmp_path / "model"))
    quantized = load_graph_def(str(tmp_path / "model_quantized.pb"))
    deployed = tf.Graph()
    with deployed.as_default(), v1.Session() as session:
        (tensor,) = tf.import_graph_def(quantized, return_elements=["output:0"], name="")
        actual = session.run(tensor, {"x:0": batch})
    reach = expected.max() - expected.min()
    assert np.abs(actual - expected).mean() < 5e-3 * reach
    assert np.corrcoef(actual.ravel(), expected.ravel())[0, 1] > 0.999
    types = [node.op for node in quantized.node]
    assert types.count("AscendDequant") == (form.dequants or form.layers)
    assert not any("FakeQuant" in op_type for op_type in types)
    assert len(read_record(record_file)) == form.layers
