"""Models of 16-bit floats are float32 when they are loaded."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph import plan_graph
from graphquant_export.inputs import load_model

v1 = tf.compat.v1
RANDOM = np.random.default_rng(3)
SHORT = {tf.float16, tf.bfloat16}


def weight(*shape):
    return RANDOM.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape)


def stored_short(x, dtype):
    """Weights of 16 bits that are cast where they are used."""
    w = tf.cast(tf.constant(weight(3, 3, 3, 8), dtype), tf.float32)
    return tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME"))


def computed_short(x, dtype):
    y = tf.nn.conv2d(tf.cast(x, dtype), tf.constant(weight(3, 3, 3, 8), dtype), 1, "SAME")
    y = tf.nn.relu(tf.nn.bias_add(y, tf.constant(weight(8), dtype)))
    return tf.cast(tf.reduce_mean(y, [1, 2]), tf.float32)


def short_from_end_to_end(x, dtype):
    return tf.matmul(tf.reshape(tf.cast(x, dtype), [-1, 192]), tf.constant(weight(192, 5), dtype))


def in_a_loop(x, dtype):
    def body(step, y):
        return step + 1, tf.nn.relu(y * tf.constant(0.75, dtype))

    y = tf.while_loop(lambda step, _: step < 3, body, (0, tf.cast(x, dtype)))[1]
    return stored_short(tf.cast(y, tf.float32), dtype)


def in_a_list(x, dtype):
    parts = tf.raw_ops.IdentityN(input=[tf.cast(x, dtype), x])
    return stored_short(tf.cast(parts[0], tf.float32) + parts[1], dtype)


KINDS = (stored_short, computed_short, short_from_end_to_end, in_a_loop, in_a_list)


@pytest.mark.parametrize("dtype", sorted(SHORT, key=str), ids=str)
@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_no_short_float_is_left_and_the_values_are_near(build, dtype, tmp_path):
    """As near as those floats are; the layer is one that is quantised."""
    v1.enable_control_flow_v2()
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        tf.identity(build(x, dtype), name="out")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    model = load_model(tmp_path / "m.pb", ["out"])
    with tf.Graph().as_default() as loaded:
        tf.import_graph_def(model.graph_def, name="")
    functions = model.graph_def.library.function
    types = {tensor.dtype for op in loaded.get_operations() for tensor in op.outputs}
    types |= {tf.as_dtype(a.type) for f in functions for a in f.signature.input_arg}
    assert not types & SHORT
    assert len(plan_graph(loaded).layers) == 1
    value = RANDOM.normal(size=(4, 8, 8, 3)).astype(np.float32)
    wanted, found = (
        v1.Session(graph=each).run("out:0", {"x:0": value}) for each in (graph, loaded)
    )
    assert found.dtype == np.float32
    spread = np.ptp(wanted.astype(np.float32))
    assert np.abs(found - wanted.astype(np.float32)).max() < 0.03 * spread


def test_a_placeholder_of_16_bits_takes_float32(tmp_path):
    """And float16, which is a float32, too."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float16, [None, 4], name="x")
        tf.matmul(x, tf.constant(weight(4, 3), tf.float16), name="out")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    model = load_model(tmp_path / "m.pb", ["out"])
    (placeholder,) = (node for node in model.graph_def.node if node.op == "Placeholder")
    assert placeholder.attr["dtype"].type == tf.float32.as_datatype_enum


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_keras_model_of_mixed_precision_has_its_layers(policy, tmp_path):
    """Each is a layer, as it is without the policy."""
    keras.mixed_precision.set_global_policy(policy)
    try:
        i = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(8, 3, activation="relu")(i)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Dense(5)(keras.layers.Flatten()(x))
        network = keras.Model(i, keras.layers.Activation("softmax", dtype="float32")(x))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    network.save(tmp_path / "m.keras")
    model = load_model(tmp_path / "m.keras")
    with tf.Graph().as_default() as loaded:
        tf.import_graph_def(model.graph_def, name="")
    assert [layer.op_type for layer in plan_graph(loaded).layers] == ["Conv2D", "MatMul"]
