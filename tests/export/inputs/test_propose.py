"""What is proposed for models that targets don't take as they are."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_export.inputs import LoadedModel
from graphquant_export.inputs.begin_at import begin_at
from graphquant_export.inputs.input_shapes import with_input_shapes
from graphquant_export.inputs.propose import propose_inputs
from graphquant_export.post_training import quantize_post_training
from graphquant_export.targets.target import LITERT

v1 = tf.compat.v1
RANDOM = np.random.default_rng(5)


def normal(*shape):
    return RANDOM.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)


def layers(x, name="behind"):
    return first_layers(tf.identity(x, name=name))


def first_layers(x):
    y = tf.nn.relu(tf.nn.conv2d(x, normal(3, 3, 3, 4), 1, "SAME", name="conv"))
    return tf.matmul(tf.reduce_mean(y, [1, 2]), normal(4, 5))


def mapped():
    x = v1.placeholder(tf.float32, [None, 8, 8, 3], "x")
    return layers(tf.map_fn(tf.image.per_image_standardization, x))


def mapped_to_a_layer():
    x = v1.placeholder(tf.float32, [None, 8, 8, 3], "x")
    return first_layers(tf.map_fn(tf.image.per_image_standardization, x))


def mapped_then_scaled():
    x = v1.placeholder(tf.float32, [None, 8, 8, 3], "x")
    return layers(tf.map_fn(tf.image.per_image_standardization, x) * 0.5 - 1.0)


def decoded():
    def image(text):
        pixels = tf.cast(tf.image.decode_jpeg(text, channels=3), tf.float32)
        return tf.image.resize(pixels, [8, 8])

    texts = v1.placeholder(tf.string, [None], "x")
    return layers(tf.map_fn(image, texts, fn_output_signature=tf.float32))


def parsed():
    texts = v1.placeholder(tf.string, [None], "x")
    features = {"image": tf.io.FixedLenFeature([8, 8, 3], tf.float32)}
    return layers(tf.io.parse_example(texts, features)["image"] / 255.0)


def one_decoded_image():
    text = v1.placeholder(tf.string, [], "x")
    pixels = tf.cast(tf.image.decode_png(text, channels=3), tf.float32)
    return layers(tf.image.resize(pixels[None], [8, 8]))


@pytest.mark.parametrize(
    "build",
    [mapped, mapped_to_a_layer, mapped_then_scaled, decoded, parsed, one_decoded_image],
    ids=lambda b: b.__name__,
)
def test_the_model_that_is_proposed_is_exported(tmp_path, build):
    """Behind what no target takes, in front of all layers, static where sizes are open."""
    model = load(build)
    proposed = propose_inputs(model)
    (name,) = proposed.inputs
    taken = begin_at(model, [name])
    assert not any(
        node.op.startswith(("Decode", "Parse", "StatelessWhile")) for node in nodes(taken)
    )
    assert sum(node.op in ("Conv2D", "MatMul") for node in nodes(taken)) == 2
    taken = with_input_shapes(taken, proposed.input_shapes)
    feeds = {name: RANDOM.normal(size=(4, 8, 8, 3)).astype(np.float32)}
    record = quantize_post_training(taken.graph_def, taken.outputs, feeds, target="litert")
    LITERT.export(taken.graph_def, taken.outputs, record, tmp_path / "m", calibration=feeds)


def test_a_model_whose_layers_stand_before_a_loop_begins_where_it_did():
    """Nothing that is quantised is cut off; what is open becomes static."""

    def recurrent():
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "x")
        y = tf.nn.conv2d(x, normal(3, 3, 3, 3), 1, "SAME", name="first")
        return layers(tf.map_fn(tf.image.per_image_standardization, y))

    proposed = propose_inputs(load(recurrent))
    assert proposed.inputs == ()
    assert proposed.input_shapes == {"x": (1, 8, 8, 3)}
    assert proposed.opened is not None
    assert proposed.opened[1] == "StatelessWhile"


@pytest.mark.parametrize("version", [1, 2])
def test_a_loop_that_holds_layers_is_no_preprocessing(version):
    """A recurrent layer stays in the model, though some targets take no loop of an open length."""

    def recurrent():
        x = v1.placeholder(tf.float32, [None, 6, 3], "x")
        rows, kernel = tf.transpose(x, [1, 0, 2]), tf.constant(normal(3, 3))
        y = tf.scan(lambda y, row: tf.tanh(tf.matmul(y, kernel) + row), rows, rows[0])
        return tf.matmul(y[-1], normal(3, 5))

    proposed = propose_inputs(load(recurrent, version))
    assert proposed.inputs == ()
    assert proposed.input_shapes == {"x": (1, 6, 3)}


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ([None, 8, 8, 3], {}),
        ([1, 8, 8, 3], {}),
        ([None, None, None, 3], {"x": (1, 224, 224, 3)}),
        ([4, None, 8, 3], {"x": (4, 224, 8, 3)}),
    ],
)
def test_open_sizes_become_static(shape, wanted):
    """But for a batch that alone is open, which targets take."""
    proposed = propose_inputs(load(lambda: layers(v1.placeholder(tf.float32, shape, "x"))))
    assert proposed.inputs == ()
    assert proposed.input_shapes == wanted


@pytest.mark.parametrize("crop", [0, 5, 100, 3000])
def test_a_size_is_one_that_the_model_takes(crop):
    """The smallest doubling of the usual one of which cropping leaves something."""

    def cropped():
        x = v1.placeholder(tf.float32, [None, None, 4], "x")
        y = tf.nn.conv1d(x, normal(3, 4, 5), 1, "VALID")
        return tf.nn.conv1d(y[:, crop:-crop] if crop else y, normal(1, 5, 2), 1, "VALID")

    proposed = propose_inputs(load(cropped))
    smallest = next(16 * 2**n for n in range(14) if 16 * 2**n - 2 - 2 * crop >= 1)
    assert proposed.input_shapes == {"x": (1, smallest, 4)}
    with pytest.raises(ConfigError, match=r'input_shapes: with "x" \(1, 2, 4\) the model cannot'):
        with_input_shapes(load(cropped), {"x": (1, 2, 4)})


def load(build, version=2):
    (v1.enable_control_flow_v2 if version == 2 else v1.disable_control_flow_v2)()
    try:
        with tf.Graph().as_default() as graph:
            tf.identity(build(), name="out")
    finally:
        v1.enable_control_flow_v2()
    return LoadedModel(graph.as_graph_def(), ("x",), ("out",))


def nodes(model):
    return model.graph_def.node
