"""The simulation: the deployed model's numbers in float ops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, ModelFileError, NonFiniteError, RangeError
from graphquant_export.integer_reference import integer_reference
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.observe_ranges import observe_ranges
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.ascend import ASCEND_TYPES


def test_the_simulation_gives_what_the_graph_of_integers_gives(trained, run, image):
    """Same outputs up to float32 rounding and its ties, with stock ops alone."""
    frozen, record = trained
    simulated = simulate(frozen, ["logits"], record)
    assert not {node.op for node in simulated.graph_def.node} & ASCEND_TYPES
    assert not simulated.graph_def.library.function
    (got,) = run(simulated.graph_def, ["logits"], {"image:0": image})
    (exact,) = integer_reference(simulated.exact.graph_def, ["logits"], {"image": image})
    (trained_value,) = run(frozen, ["logits"], {"image:0": image})
    step = np.ptp(exact) / 255
    assert np.abs(got - exact).mean() < 0.1 * step
    assert np.abs(got - trained_value).mean() < 0.1 * step
    assert (got.argmax(-1) == exact.argmax(-1)).all()


def test_every_layer_holds_the_records_scale_and_its_own_codes(trained):
    """A weight Const is codes * scale_w and a bias Const codes * scale_d * scale_w, bit for bit."""
    frozen, record = trained
    simulated = simulate(frozen, ["logits"], record)
    nodes = {node.name: node for node in simulated.graph_def.node}
    assert {layer.name for layer in simulated.layers} == set(record)
    for layer in simulated.layers:
        factors = record[layer.name]
        assert (layer.scale_d, layer.offset_d) == (factors.scale_d, factors.offset_d)
        quantizer = nodes[layer.quantizer]
        assert quantizer.op == "FakeQuantWithMinMaxArgs"
        low, high = quantizer.attr["min"].f, quantizer.attr["max"].f
        assert low <= 0 <= high
        np.testing.assert_allclose((high - low) / 255, factors.scale_d, rtol=1e-6)
        assert {layer.node, layer.result} <= nodes.keys()
        if layer.weight is None:
            assert layer.op_type == "AvgPool"
            continue
        weight = tf.make_ndarray(nodes[layer.weight].attr["value"].tensor)
        axes = sorted(layer.weight_axes)
        moved = np.moveaxis(weight, axes, range(-len(axes), 0)).reshape(-1, layer.weight_scale.size)
        codes = np.moveaxis(layer.weight_codes, axes, range(-len(axes), 0))
        expected = codes.reshape(moved.shape).astype(np.float32) * layer.weight_scale
        np.testing.assert_array_equal(moved, expected)
        if layer.bias is not None:
            bias = tf.make_ndarray(nodes[layer.bias].attr["value"].tensor)
            exact = layer.bias_codes.astype(np.float64) * layer.scale.astype(np.float64)
            np.testing.assert_array_equal(bias, exact.astype(np.float32))


def test_observed_ranges_are_the_smallest_and_largest_value_and_hold_zero(trained, run, image):
    """min(0, x) and max(0, x) over the batch, for every tensor asked for."""
    frozen, record = trained
    graph_def = simulate(frozen, ["logits"], record).graph_def
    (logits,) = run(graph_def, ["logits"], {"image:0": image})
    ranges = observe_ranges(graph_def, ["logits", "image"], {"image": image})
    # Two graphs may be fused in different ways, which is float32's last bit.
    ends = (min(logits.min(), 0.0), max(logits.max(), 0.0))
    assert ranges["logits"] == pytest.approx(ends, rel=3e-7)
    assert ranges["image"] == (image.min(), image.max())


def test_a_model_of_one_sample_is_observed_on_several() -> None:
    """A placeholder with a batch of its own is run as often as the samples fit."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [1, 2], "x")
        tf.multiply(x, 2.0, name="y")
    samples = {"x": np.array([[1, 2], [-3, 4], [5, 0]], np.float32)}
    assert observe_ranges(graph.as_graph_def(), ["y"], samples) == {"y": (-6.0, 10.0)}


@pytest.mark.parametrize(
    ("feeds", "error", "words"),
    [
        ({"imge": 0.0}, ConfigError, 'did you mean "image"'),
        ({}, ConfigError, '"image" has no value'),
        ([], ConfigError, "must map names"),
        ({"image": np.zeros((2, 8, 8))}, RangeError, r"\[2, 8, 8\]"),
        ({"image": np.zeros((0, 8, 8, 3))}, RangeError, "empty"),
        ({"image": np.full((4, 8, 8, 3), "a")}, RangeError, "float32"),
        ({"image": np.full((4, 8, 8, 3), np.nan)}, NonFiniteError, "768 NaN"),
    ],
)
def test_feeds_that_do_not_fit_are_refused_by_name(trained, feeds, error, words):
    """One error that names the placeholder and what it takes."""
    frozen, record = trained
    graph_def = simulate(frozen, ["logits"], record).graph_def
    with pytest.raises(error, match=words):
        observe_ranges(graph_def, ["logits"], feeds)


def test_a_model_that_does_not_run_on_the_batch_is_an_error_of_ours() -> None:
    """TensorFlow's own words, in a ModelFileError, wherever a batch is observed."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, None], "x")
        tf.matmul(tf.matmul(x, tf.ones([7, 4])), tf.ones([4, 2]), name="y")
    graph_def, batch = graph.as_graph_def(), {"x": np.ones((2, 3), np.float32)}
    with pytest.raises(ModelFileError, match="cannot run the model"):
        observe_ranges(graph_def, ["y"], batch)
    with pytest.raises(ModelFileError, match="cannot run the model"):
        quantize_post_training(graph_def, ["y"], batch)
