"""Folding against TensorFlow's own kernels."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graphquant_core.channels import per_channel_shape
from graphquant_core.exceptions import NonFiniteError
from graphquant_core.graph import GraphView, affine_tail
from graphquant_core.graph.frozen import evaluate_constants
from graphquant_core.graph.frozen.fold_batch_norm import batch_norm_factors, folds, parameters

v1 = tf.compat.v1


def vector(low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float32, 3, elements=st.floats(low, high, width=32))


@settings(max_examples=30)
@given(
    x=arrays(np.float32, (2, 1, 2, 3), elements=st.floats(-4, 4, width=32)),
    gamma=vector(-2, 2),
    beta=vector(-2, 2),
    mean=vector(-2, 2),
    variance=vector(0, 4),
    epsilon=st.sampled_from([1e-5, 1e-3]),
)
def test_the_factors_are_those_of_the_fused_kernel(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
) -> None:
    """x * factor + bias is what FusedBatchNormV3 returns, up to its float32 rounding."""
    with tf.Graph().as_default() as graph:
        y = v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training=False)[0]
    expected = evaluate_constants(graph, [y])[0]
    factor, bias = batch_norm_factors(gamma, beta, mean, variance, epsilon)
    magnitude = np.abs(x * factor).max() + np.abs(mean * factor).max() + np.abs(beta).max()
    np.testing.assert_allclose(x * factor + bias, expected, atol=2e-6 * (magnitude + 1), rtol=0)


@pytest.mark.parametrize(
    "op_type", ["Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul"]
)
@pytest.mark.parametrize("tail", ["none", "bias", "shifted", "unfused+shifted+doubled"])
def test_a_folded_layer_computes_what_layer_and_tail_compute(layer_model, run, op_type, tail):
    """layer(x, w * factor) + bias == tail(layer(x, w)), for every way to write the tail."""
    model = layer_model(op_type, tail)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(model.graph_def, name="")
    layer = graph.get_tensor_by_name("block/layer:0")
    steps = affine_tail(GraphView(graph), layer, -1, len(model.factor), frozenset(["y"]))
    tensors = parameters(steps)
    values = dict(zip([t.name for t in tensors], evaluate_constants(graph, tensors), strict=True))
    fold = folds(steps, values, len(model.factor))[-1]
    np.testing.assert_allclose(fold.factor, model.factor, rtol=1e-6)
    shape = per_channel_shape(model.weight.shape, model.axes)
    folded = model.run(model.x, model.weight * fold.factor.reshape(shape)) + fold.bias
    (expected,) = run(model.graph_def, ["y"], {"x:0": model.x})
    np.testing.assert_allclose(folded, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)
    assert fold.shifts == (tail != "none")


@pytest.mark.parametrize(
    ("tail", "scales", "shifts"),
    [
        ("none", False, False),
        ("bias", False, True),
        ("doubled", True, False),
        ("bias+doubled", True, True),
        ("unfused", True, True),
    ],
)
def test_a_fold_says_whether_it_multiplies_and_whether_it_adds(layer_model, tail, scales, shifts):
    """What multiplies must stay out of a weight that isn't to be fused; what adds is a bias."""
    model = layer_model("Conv2D", tail)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(model.graph_def, name="")
    layer = graph.get_tensor_by_name("block/layer:0")
    steps = affine_tail(GraphView(graph), layer, 3, len(model.factor))
    tensors = parameters(steps)
    values = dict(zip([t.name for t in tensors], evaluate_constants(graph, tensors), strict=True))
    fold = folds(steps, values, len(model.factor))[-1]
    assert (fold.scales, fold.shifts) == (scales, shifts)


def test_an_impossible_batch_norm_is_named():
    """A negative variance is an error with the name of the op, not NaN in the weights."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [1, 1, 1, 2])
        y = tf.nn.conv2d(x, np.ones((1, 1, 2, 1), np.float32), 1, "SAME")
        ones = np.ones(1, np.float32)
        z = v1.nn.fused_batch_norm(y, ones, ones, ones, -ones, is_training=False, name="bn")[0]
        tf.identity(z)
    steps = affine_tail(GraphView(graph), y, 3, 1)
    values = {
        tensor.name: value
        for tensor, value in zip(
            parameters(steps), evaluate_constants(graph, parameters(steps)), strict=True
        )
    }
    with pytest.raises(NonFiniteError, match='"bn"'):
        folds(steps, values, 1)
