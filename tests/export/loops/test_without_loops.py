"""Loops that are written out: the graph computes what it did, and each weight is there once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.graph import plan_graph
from graphquant_core.graph.frozen import import_frozen
from graphquant_export import load_model
from graphquant_export.loops import without_loops, write

v1 = tf.compat.v1
L = keras.layers
RANDOM = np.random.default_rng(5)
STEPS, SIZE = 5, 4
X = RANDOM.normal(size=(3, STEPS, SIZE)).astype(np.float32)
KERNEL = RANDOM.normal(0, 0.5, (2 * SIZE, SIZE)).astype(np.float32)
LISTS_AND_LOOPS = ("While", "StatelessWhile", "Enter", "Exit", "NextIteration")


def run(graph_def: Any, outputs: list[str], x: Any = X) -> list[Any]:
    (name,) = (node.name for node in graph_def.node if node.op == "Placeholder")
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run([f"{output}:0" for output in outputs], {f"{name}:0": x})


def check(graph_def: Any, outputs: list[str], tolerance: float = 0.0) -> Any:
    """The graph without loops, which computes what TensorFlow's loops do."""
    plain = without_loops(graph_def, outputs, "MNN")
    left = [n.op for n in plain.node if n.op in LISTS_AND_LOOPS or n.op.startswith("TensorArray")]
    assert not [*left, *(n.op for n in plain.node if n.op.startswith("TensorList"))]
    for expected, found in zip(run(graph_def, outputs), run(plain, outputs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert _weights(plain) <= _weights(graph_def)
    return plain


def _weights(graph_def: Any) -> int:
    constants = [node for node in graph_def.node if node.op == "Const"]
    constants += [n for f in graph_def.library.function for n in f.node_def if n.op == "Const"]
    values = (tf.make_ndarray(node.attr["value"].tensor) for node in constants)
    return sum(value.nbytes for value in values if value.dtype == np.float32 and value.size > 1)


def build(make: Callable[[Any], Any], version: int) -> Any:
    """The graph of `make`, with the loops of TensorFlow 1 or 2."""
    enabled = v1.control_flow_v2_enabled()
    (v1.enable_control_flow_v2 if version == 2 else v1.disable_control_flow_v2)()
    try:
        with tf.Graph().as_default() as graph:
            tf.identity(make(v1.placeholder(tf.float32, [None, STEPS, SIZE], name="x")), name="out")
    finally:
        (v1.enable_control_flow_v2 if enabled else v1.disable_control_flow_v2)()
    return graph.as_graph_def()


def loop(condition: Any, body: Any, *starts: Any) -> Any:
    found = v1.while_loop(condition, body, starts)
    return found if isinstance(found, (list, tuple)) else (found,)


def recurrent(x, inner=False):
    """What dynamic_rnn builds: a length that is read from a shape, arrays to read and to write."""
    by_step = tf.transpose(x, [1, 0, 2])
    steps, kernel = tf.shape(by_step)[0], tf.constant(KERNEL, name="kernel")
    taken = tf.TensorArray(tf.float32, size=steps, clear_after_read=False).unstack(by_step)

    def cell(t, h):
        return tf.tanh(tf.matmul(tf.concat([taken.read(t), h], 1), kernel, name="gates"))

    def repeated(t, h):
        return loop(
            lambda i, _: i < tf.minimum(t, 1) + 1,
            lambda i, h: (i + 1, cell(t, h) * tf.cast(i + t, tf.float32)),
            0,
            h,
        )[1]

    def step(t, h, given):
        h = repeated(t, h) if inner else cell(t, h)
        return t + 1, h, given.write(t, h)

    given = tf.TensorArray(tf.float32, size=steps)
    start = tf.zeros([tf.shape(x)[0], SIZE])
    found = loop(lambda t, *_: t < steps, step, 0, start, given)
    return tf.transpose(found[2].stack(), [1, 0, 2])


def nested(x):
    return recurrent(x, inner=True)


def stacked(x):
    """The length of the second loop is known once the first is gone."""
    return recurrent(recurrent(x))


def static_rnn(x):
    h = tf.zeros_like(x[:, 0])
    for t in range(STEPS):
        h = tf.tanh(tf.matmul(tf.concat([x[:, t], h], 1), KERNEL))
    return loop(lambda i, _: i < 2, lambda i, h: (i + 1, h * 2.0), 0, h)[1]


def product(x):
    kernel = tf.constant(KERNEL[:SIZE])
    return loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.matmul(y, kernel)), 0, x[:, 0])[1]


def transposed_product(x):
    kernel = tf.constant(KERNEL[:SIZE])

    def body(i, y):
        product = tf.matmul(kernel, y, transpose_a=True, transpose_b=True)
        return i + 1, tf.transpose(product)

    return loop(lambda i, _: i < 3, body, 0, x[:, 0])[1]


def counted_by_a_loop(x):
    (steps,) = loop(lambda i: i < 3, lambda i: (i + 1,), 0)
    return loop(lambda i, _: i < steps, lambda i, y: (i + 1, y * 2.0), 0, x)[1]


def no_step(x):
    return loop(lambda i, _: i < 0, lambda i, y: (i + 1, y * 2.0), 0, x)[1]


def random_access(x):
    """Elements that are read in another order, and a counter that values are computed from."""
    taken = tf.TensorArray(tf.float32, size=STEPS, clear_after_read=False)
    taken = taken.scatter(tf.range(STEPS)[::-1], tf.transpose(x, [1, 0, 2]))

    def body(i, y):
        return i + 2, y + taken.read(i) * tf.cast(i * i, tf.float32)

    found = loop(lambda i, _: i < taken.size(), body, 0, tf.zeros_like(x[:, 0]))[1]
    return found + taken.gather([1, 3])[0]


KINDS = (
    recurrent, nested, stacked, static_rnn, product, transposed_product, counted_by_a_loop, no_step,
    random_access,
)  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_loop_of_a_static_number_of_steps_is_written_out(make, version):
    """In either form of TensorFlow's loops; a few float32 roundings are the kernels' own."""
    check(build(make, version), ["out"], tolerance=1e-6)


def test_lists_that_grow_and_shrink():
    """Push, pop, length and a stack of what is left."""

    def make(x):
        shape, ops = tf.constant([-1, SIZE]), tf.raw_ops
        values = ops.EmptyTensorList(
            element_shape=shape, max_num_elements=9, element_dtype=tf.float32
        )

        def body(i, values):
            item = x[:, 0] * tf.cast(i, tf.float32)
            return i + 1, ops.TensorListPushBack(input_handle=values, tensor=item)

        _, values = loop(lambda i, _: i < 4, body, 0, values)
        values, last = ops.TensorListPopBack(
            input_handle=values, element_shape=shape, element_dtype=tf.float32
        )
        count = tf.cast(ops.TensorListLength(input_handle=values), tf.float32)
        left = ops.TensorListStack(
            input_handle=values, element_shape=shape, element_dtype=tf.float32
        )
        return left[2] + last * count

    check(build(make, 2), ["out"], tolerance=1e-6)


KERAS = {
    "lstm": lambda: [L.LSTM(3)],
    "gru": lambda: [L.GRU(3)],
    "gru of keras 1": lambda: [L.GRU(3, reset_after=False, use_bias=False)],
    "sequences": lambda: [L.Dense(4, activation="relu"), L.LSTM(3, return_sequences=True)],
    "bidirectional": lambda: [L.Bidirectional(L.LSTM(3, return_sequences=True))],
    "stacked": lambda: [L.LSTM(3, return_sequences=True), L.GRU(2), L.Dense(2)],
    "masked": lambda: [L.Masking(), L.GRU(3)],
    "backwards": lambda: [L.SimpleRNN(3, go_backwards=True)],
}


def _saved(tmp_path: Any, layers: list[Any], steps: int | None = STEPS) -> Any:
    model = keras.Sequential([keras.Input((steps, SIZE), name="x"), *layers])
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.mark.parametrize("kind", KERAS)
def test_recurrent_layers_of_keras_are_exact(tmp_path, kind):
    """With an open batch: the same ops in the same order, so that no bit differs."""
    loaded = load_model(_saved(tmp_path, KERAS[kind]()))
    plain = check(loaded.graph_def, list(loaded.outputs))
    assert any("/step_4/" in node.name for node in plain.node)


def test_a_length_that_is_given_is_static(tmp_path):
    """`input_shapes` turns an error that says so into a graph."""
    path = _saved(tmp_path, [L.LSTM(3)], steps=None)
    loaded = load_model(path)
    with pytest.raises(UnsupportedLayerError, match=r"depends on the inputs.*input_shapes="):
        without_loops(loaded.graph_def, list(loaded.outputs), "MNN")
    fixed = load_model(path, input_shapes={loaded.inputs[0]: [None, STEPS, SIZE]})
    check(fixed.graph_def, list(fixed.outputs))


@pytest.mark.parametrize("version", [1, 2])
def test_a_loop_that_data_ends_is_named(version):
    """Nothing tells how many steps it makes."""
    model = build(
        lambda x: loop(lambda y: tf.reduce_max(y) > 1.0, lambda y: (y / 2.0,), x)[0], version
    )
    with pytest.raises(UnsupportedLayerError, match=r'loop "while".*LiteRT.*how many steps'):
        without_loops(model, ["out"], "LiteRT")


@pytest.mark.parametrize("version", [1, 2])
def test_an_element_that_nothing_wrote_is_said(version):
    """TensorFlow gives zeros or fails; a graph without lists can't."""

    def make(x):
        taken = tf.TensorArray(tf.float32, size=4, element_shape=[None, SIZE]).write(0, x[:, 0])
        return loop(lambda i, _: i < 2, lambda i, y: (i + 1, y + taken.read(i)), 0, x[:, 0])[1]

    with pytest.raises(UnsupportedLayerError, match="element 1 of a list is read"):
        without_loops(build(make, version), ["out"], "MNN")


def counting(x):
    """Steps that do nothing with data, of which there are many."""
    return loop(lambda i, _: i < 20, lambda i, y: (i + 1, y), 0, x)[1]


@pytest.mark.parametrize("make", [product, counting])
@pytest.mark.parametrize("version", [1, 2])
def test_a_loop_of_too_many_steps_is_refused(monkeypatch, make, version):
    """A converter would take longer than anyone waits, and so would counting."""
    monkeypatch.setattr(write, "_MOST_OPS", 2)
    with pytest.raises(UnsupportedLayerError, match="its steps are more than 2 ops"):
        without_loops(build(make, version), ["out"], "MNN")


def test_a_graph_without_a_loop_is_itself():
    """Not even copied."""
    model = build(tf.nn.relu, 2)
    assert without_loops(model, ["out"], "MNN") is model


@pytest.mark.parametrize("version", [1, 2])
def test_a_layer_in_a_loop_is_listed_with_the_reason(version):
    """One weight, and ranges that differ from step to step."""
    (row,) = plan_graph(import_frozen(build(product, version))).rows
    assert row.op_type == "MatMul"
    assert "steps share its weight" in row.reason
