"""The exact sums of a deployed graph."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, OutputNotFoundError
from graphquant_core.layer import Layer
from graphquant_core.record import LayerFactors, Record
from graphquant_core.registry import load_registry
from graphquant_export.integer_reference import integer_reference
from graphquant_export.targets.ascend import quantize_graph

v1 = tf.compat.v1


def deployed_matmul(weight, factors, bias=None):
    """The quantised graph of one MatMul called "layer", with the output "y"."""
    with tf.Graph().as_default() as graph:
        y = tf.matmul(v1.placeholder(tf.float32, [None, len(weight)], "x"), weight, name="layer")
        tf.identity(y if bias is None else tf.nn.bias_add(y, bias), name="y")
    return quantize_graph(graph.as_graph_def(), ["y"], Record({"layer": factors}))[0]


def test_sums_are_those_of_integers_in_int64():
    """Where float32 can't hold the sums, the reference still rounds the int64 matrix product."""
    rng = np.random.default_rng(0)
    weight = rng.integers(64, 128, (4001, 3)).astype(np.float32)
    x = rng.integers(100, 228, (2, 4001)).astype(np.float32)
    quantized = deployed_matmul(weight, LayerFactors(1.0, -100, [1.0]))
    (exact,) = integer_reference(quantized, ["y"], {"x": x})
    truth = x.astype(np.int64) @ weight.astype(np.int64)
    assert np.abs(truth).max() > 2**24
    np.testing.assert_array_equal(exact, truth.astype(np.float32))


def test_a_bias_counts_to_its_last_bit():
    """An int32 bias that float32 can't hold is added exactly."""
    scale, bias = np.float32(0.3), np.float32(1.1e7)
    code = int(np.rint(np.float64(bias) / np.float64(scale)))
    assert code != int(np.float32(code))
    weight = np.full((4000, 1), -(code // 100) // 4000, np.float32)
    weight[: -(code // 100) % 4000] += 1
    assert weight.sum() == -(code // 100)
    quantized = deployed_matmul(weight * scale, LayerFactors(1.0, 0, [scale]), [bias])
    (exact,) = integer_reference(quantized, ["y"], {"x": np.full((1, 4000), 100)})
    np.testing.assert_array_equal(exact, [[np.float32(np.float64(scale) * (code % 100))]])


def test_ties_between_layers_fall_as_on_the_device(run):
    """TensorFlow's graph optimiser doesn't merge the factors of neighbours, so ties don't move."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 4, (1, 1, 8, 8)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [50, 4, 4, 8], name="x")
        pooled = tf.nn.avg_pool2d(x, 2, 2, "VALID", name="pool")
        tf.nn.conv2d(pooled, weight * 0.7, 1, "SAME", name="conv")
    # The mean of four steps of the pool, in steps of the convolution, is a tie every fourth time.
    factors = {"pool": LayerFactors(0.05, 0), "conv": LayerFactors(0.05, 0, [0.7])}
    quantized, _ = quantize_graph(graph.as_graph_def(), ["conv"], Record(factors))
    x = (rng.integers(-20, 20, (50, 4, 4, 8)) * 0.05).astype(np.float32)
    (found,) = run(quantized, ["conv"], {"x:0": x})
    (exact,) = integer_reference(quantized, ["conv"], {"x": x})
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("padding", ["SAME", "VALID", [[0, 0], [0, 0], [1, 2], [0, 3]]])
@pytest.mark.parametrize("stride", [1, 2])
def test_nchw_is_computed_as_nhwc(run, padding, stride):
    """An NCHW convolution with strides, dilation or explicit padding has the same exact sums."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 2, 4, 5)).astype(np.float32)
    x = rng.normal(size=(2, 4, 9, 7)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        fed = v1.placeholder(tf.float32, x.shape, name="x")
        y = tf.nn.conv2d(fed, weight, [1, 1, stride, 1], padding, "NCHW", name="layer")
        tf.nn.avg_pool2d(y, [2, 2], [1, 2], "VALID", "NCHW", name="pool")
    factors = {"layer": LayerFactors(0.021, 5, np.full(5, 0.02)), "pool": LayerFactors(0.11, -3)}
    quantized, _ = quantize_graph(graph.as_graph_def(), ["pool"], Record(factors))
    (found,) = run(quantized, ["pool"], {"x:0": x})
    (exact,) = integer_reference(quantized, ["pool"], {"x:0": x})
    np.testing.assert_array_equal(found, exact)


def test_a_float_graph_has_no_integer_reference():
    """A graph without AscendQuant is refused with the name of the file to give."""
    with tf.Graph().as_default() as graph:
        tf.identity(v1.placeholder(tf.float32, [1], name="x"), name="y")
    with pytest.raises(ModelFileError, match=r"_quantized\.pb"):
        integer_reference(graph.as_graph_def(), ["y"], {"x": np.zeros(1)})


def test_a_wrong_output_is_refused():
    """An output that isn't there is an error with the closest name."""
    with tf.Graph().as_default() as graph:
        tf.identity(v1.placeholder(tf.float32, [1], name="x"), name="logits")
    with pytest.raises(OutputNotFoundError, match='did you mean "logits"'):
        integer_reference(graph.as_graph_def(), ["logit"], {"x": np.zeros(1)})


class _AvgPool3DHandler:
    name = "AvgPool3D"
    op_types = frozenset({"AvgPool3D"})

    def describe(self, op):
        return Layer(op.name, op.type, activation_port=0)


def test_an_op_without_a_float64_kernel_is_named(monkeypatch):
    """A third-party layer that TensorFlow can't run in float64 is an error with its name."""
    known = load_registry()
    handlers = {**known.handlers, "AvgPool3D": _AvgPool3DHandler()}
    registry = attrs.evolve(known, handlers=handlers)
    monkeypatch.setattr("graphquant_core.graph.planner.load_registry", lambda: registry)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [1, 2, 2, 2, 3], name="x")
        tf.nn.avg_pool3d(x, 2, 2, "VALID", name="pool")
    record = Record({"pool": LayerFactors(0.1, 0)})
    quantized, _ = quantize_graph(graph.as_graph_def(), ["pool"], record)
    with pytest.raises(ModelFileError, match=r"(?s)not run in float64.*AvgPool3D"):
        integer_reference(quantized, ["pool"], {"x": np.zeros([1, 2, 2, 2, 3])})


def test_a_value_of_the_wrong_shape_is_no_matter_of_float64():
    """TensorFlow's own error about what was fed is passed on."""
    quantized = deployed_matmul(np.ones((2, 1), np.float32), LayerFactors(1.0, 0, [1.0]))
    with pytest.raises(ValueError, match="shape") as caught:
        integer_reference(quantized, ["y"], {"x": np.zeros([1, 3])})
    assert not isinstance(caught.value, ModelFileError)
