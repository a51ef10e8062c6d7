"""The loss that draws weights to their grid."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import GraphStateError
from graphquant_wq import WeightQuantizer, strip_wq_ops

v1 = tf.compat.v1


def _graph() -> tf.Graph:
    """Two layers share a weight, a third has its own."""
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(3)
        x = v1.placeholder(tf.float32, [None, 6], "x")
        weight = v1.get_variable("shared", [6, 6])
        x = tf.matmul(tf.matmul(x, weight, name="first"), weight, name="second")
        tf.matmul(x, v1.get_variable("own", [6, 3]), name="third")
    return graph


def _weights(quantizer: WeightQuantizer) -> tuple[list[str], list[str]]:
    """Names of the tensors with the weights, and with the weights on the grid; each once."""
    by_output = {weight.output: weight.weight for weight in quantizer._record.weights.values()}
    return list(by_output.values()), list(by_output)


@pytest.mark.usefixtures("both_kinds_of_variables")
@pytest.mark.parametrize("strategy", ["live_range", "learned_scale", "max_abs"])
def test_it_is_the_squared_distance_to_the_grid(strategy: str) -> None:
    """In float64, a shared weight once; its gradient 2 (w - ŵ) goes to the weights alone."""
    graph = _graph()
    quantizer = WeightQuantizer(graph, bits=3, strategy=strategy)
    loss = quantizer.dampening_loss()
    weights, on_grid = _weights(quantizer)
    assert len(weights) == len(on_grid) == 2
    with graph.as_default(), v1.Session() as session:
        trained = {variable.op.name: variable for variable in v1.trainable_variables()}
        gradients = dict(zip(trained, tf.gradients(loss, list(trained.values())), strict=True))
        session.run(v1.global_variables_initializer())
        quantizer.init(session)
        found, before, after = session.run([loss, weights, on_grid])
        assert {name for name, value in gradients.items() if value is not None} == {"shared", "own"}
        for name, w, y in zip(("shared", "own"), before, after, strict=True):
            np.testing.assert_allclose(session.run(gradients[name]), 2 * (w - y), atol=1e-6)
    pairs = zip(before, after, strict=True)
    expected = sum(np.square(y.astype(np.float64) - w).sum() for w, y in pairs)
    assert expected > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_alone_it_brings_the_weights_onto_the_grid_that_they_are_next_to() -> None:
    """With a rate of 1/4 each step halves the distance; no code changes."""
    graph = _graph()
    quantizer = WeightQuantizer(graph, bits=2)
    loss = quantizer.dampening_loss()
    assert (loss.dtype, loss.shape) == (tf.float32, [])
    with graph.as_default():
        step = v1.train.GradientDescentOptimizer(0.25).minimize(loss)
        initializer = v1.global_variables_initializer()
    _, on_grid = _weights(quantizer)
    with v1.Session(graph=graph) as session:
        session.run(initializer)
        quantizer.init(session)
        first, start = session.run([loss, on_grid])
        for _ in range(5):
            session.run(step)
        last, found = session.run([loss, on_grid])
        np.testing.assert_allclose(last, first / 4**5, rtol=1e-3)
        for one, other in zip(start, found, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_it_is_refused_where_nothing_can_be_trained() -> None:
    """After the strip, and in a graph that is finalised."""
    graph = _graph()
    quantizer = WeightQuantizer(graph, bits=4)
    with graph.as_default():
        initializer = v1.global_variables_initializer()
    with v1.Session(graph=graph) as session:
        session.run(initializer)
        quantizer.init(session)
        strip_wq_ops(graph)
    with pytest.raises(GraphStateError, match="strip_wq_ops"):
        quantizer.dampening_loss()
    graph = _graph()
    quantizer = WeightQuantizer(graph, bits=4)
    graph.finalize()
    with pytest.raises(GraphStateError, match="finalized"):
        quantizer.dampening_loss()
