"""A model begins at an op that is named, with a shape that is given."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, UnknownNameError
from graphquant_export import export, load_model, quantize
from graphquant_export.targets.target import LITERT, MNN

v1 = tf.compat.v1
RANDOM = np.random.default_rng(5)
LOWEST_SQNR = 28


def weight(*shape):
    return RANDOM.normal(0, 1.2 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)


def in_a_map(_):
    x = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
    return tf.map_fn(tf.image.per_image_standardization, x)


def decoded(_):
    texts = v1.placeholder(tf.string, [None], "images")
    return tf.map_fn(
        lambda text: tf.cast(tf.io.decode_png(text, 3), tf.float32) / 255.0,
        texts,
        fn_output_signature=tf.TensorSpec([8, 8, 3]),
    )


def cast_and_scaled(_):
    x = v1.placeholder(tf.uint8, [None, 16, 16, 3], "images")
    return v1.image.resize_bilinear(tf.cast(x, tf.float32) / 127.5 - 1.0, [8, 8])


def parsed(_):
    texts = v1.placeholder(tf.string, [None], "images")
    spec = {"pixels": tf.io.FixedLenFeature([192], tf.float32)}
    return tf.reshape(tf.io.parse_example(texts, spec)["pixels"], [-1, 8, 8, 3])


def in_a_loop(_):
    x = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
    return tf.while_loop(lambda y: tf.reduce_max(y) > 1.0, lambda y: (y / 2.0,), (x,))[0]


FRONTS = (in_a_map, decoded, cast_and_scaled, parsed, in_a_loop)


def built(front):
    with tf.Graph().as_default() as graph:
        y = tf.identity(front(None), name="standardized")
        y = tf.nn.relu(tf.nn.conv2d(y, weight(3, 3, 3, 8), 1, "SAME", name="c1"))
        tf.matmul(tf.reshape(y, [-1, 512]), weight(512, 5), name="out")
    return graph


@pytest.fixture
def path(tmp_path):
    """Writes a graph to a file."""

    def write(graph):
        (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
        return tmp_path / "m.pb"

    return write


def run(graph_def, outputs, feeds):
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(outputs, feeds)


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.__name__)
@pytest.mark.parametrize("target", [LITERT, MNN], ids=lambda target: target.name)
def test_preprocessing_is_cut_off(front, target, path, tmp_path):
    """What is fed behind it gives what the whole graph gives, on targets that can't have it."""
    graph = built(front)
    shapes = {"standardized": (None, 8, 8, 3)}
    model = load_model(path(graph), ["out"], inputs=["standardized"], input_shapes=shapes)
    assert model.inputs == ("standardized",)
    assert {node.name for node in model.graph_def.node if node.op == "Placeholder"} == {
        "standardized"
    }
    x = RANDOM.normal(size=(16, 8, 8, 3)).astype(np.float32)
    feeds = {"standardized:0": x}
    wanted = run(graph.as_graph_def(), "out:0", feeds)
    np.testing.assert_array_equal(run(model.graph_def, "out:0", feeds), wanted)
    samples = {"standardized": x}
    record = quantize(model, samples, target.name)
    artifact = export(model, record, target.name, tmp_path / "m", samples=samples)
    found = target.runtime(artifact).run(samples, ["out"])["out"]
    noise = ((found - wanted) ** 2).sum() / (wanted**2).sum()
    assert -10 * np.log10(noise) > LOWEST_SQNR


def two_inputs():
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4], "x")
        y = v1.placeholder(tf.float32, [None, 4], "y")
        a, b = tf.split(tf.nn.relu(x), 2, 1, name="parts")
        tf.add_n([tf.matmul(a, weight(2, 3)), tf.matmul(b, weight(2, 3)), y[:, :3]], name="out")
        tf.constant(1.0, name="one")
    return graph


def test_other_inputs_stay(path):
    """Those that are named come first."""
    model = load_model(path(two_inputs()), ["out"], inputs=["Relu:0"])
    assert model.inputs == ("Relu", "y")


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        (["Relo"], UnknownNameError, 'no op "Relo"; did you mean "Relu"'),
        (["parts"], ConfigError, '"parts" .Split. has 2 outputs'),
        (["Relu", "x"], ConfigError, 'needs "x" beside Relu'),
        ("Relu", ConfigError, "must be a list of op names"),
        ([], ConfigError, "must be a list of op names"),
        (["split/split_dim"], (ConfigError, UnknownNameError), "split"),
    ],
)
def test_a_beginning_that_is_none_is_refused(path, inputs, error, words):
    """By name, and with what would be right."""
    with pytest.raises(error, match=words):
        load_model(path(two_inputs()), ["out"], inputs=inputs)


def test_a_shape_fixes_what_is_open(path):
    """And what follows from it."""
    model = load_model(path(two_inputs()), ["out"], input_shapes={"x": (7, 4), "y": [None, 4]})
    graph = model.graph()
    assert graph.get_tensor_by_name("x:0").shape == [7, 4]
    assert graph.get_tensor_by_name("MatMul:0").shape == [7, 3]
    assert graph.get_tensor_by_name("y:0").shape.as_list() == [None, 4]


@pytest.mark.parametrize(
    ("shapes", "error", "words"),
    [
        ({"z": (1, 4)}, UnknownNameError, 'no input "z".* it has x, y'),
        ({"x": (1, 5)}, ConfigError, r"\(1, 5\) contradicts that of the model, \(\?, 4\)"),
        ({"x": (4,)}, ConfigError, "contradicts"),
        ({"x": (0, 4)}, ConfigError, "at least 1"),
        ({"x": (True, 4)}, ConfigError, "at least 1"),
        ({"x": (1.5, 4)}, ConfigError, "at least 1"),
        ({"x": "1,4"}, ConfigError, "list of sizes"),
        ([("x", (1, 4))], ConfigError, "must map names"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(path, shapes, error, words):
    """With the input's name, the shape, and what is allowed."""
    with pytest.raises(error, match=words):
        load_model(path(two_inputs()), ["out"], input_shapes=shapes)


def test_sizes_may_be_numpy_integers(path):
    """Wherever Python's may."""
    shape = (np.int64(2), np.int32(4))
    model = load_model(path(two_inputs()), ["out"], input_shapes={"x": shape})
    assert model.graph().get_tensor_by_name("x:0").shape == [2, 4]
