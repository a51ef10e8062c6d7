"""Fake quantisers of values are taken out of a frozen graph, whatever stands behind them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph.frozen import without_value_quantizers
from graphquant_core.graph.rewire import ROLE_ATTRIBUTE, VALUE_INPUT, VALUE_OUTPUT

v1 = tf.compat.v1
X = np.linspace(-2, 2, 12, dtype=np.float32)


def marked(tensor, role):
    tensor.op._set_attr(ROLE_ATTRIBUTE, v1.AttrValue(s=role.encode()))
    return tensor


def rounded(x, shared=0):
    """`x` on a coarse grid, handed on by `shared` Identities."""
    y = marked(tf.identity(x), VALUE_INPUT)
    y = marked(tf.quantization.fake_quant_with_min_max_args(y, -1, 1, 3), VALUE_OUTPUT)
    for _ in range(shared):
        y = marked(tf.identity(y), VALUE_OUTPUT)
    return y


def chain(x, quantized):
    return tf.sin(quantized(tf.tanh(quantized(tf.cos(x)))))


def two_at_once(x, quantized):
    return quantized(quantized(tf.cos(x)))


def joined(x, quantized):
    y = quantized(tf.cos(x))
    return quantized(y + quantized(tf.tanh(y))) * y


@pytest.mark.parametrize("build", [chain, two_at_once, joined], ids=lambda build: build.__name__)
@pytest.mark.parametrize("shared", [0, 1, 2])
@pytest.mark.parametrize("last_first", [False, True])
def test_the_graph_computes_what_it_does_without_them(build, shared, last_first):
    """In every order of the nodes, and where several hand on what one returns."""
    found = run(lambda x: build(x, lambda y: rounded(y, shared)), last_first)
    np.testing.assert_array_equal(found, run(lambda x: build(x, lambda y: y), last_first))


def run(build, last_first):
    with tf.Graph().as_default() as graph:
        tf.sqrt(tf.abs(build(v1.placeholder(tf.float32, [12], "x"))), name="out")
    model = graph.as_graph_def()
    if last_first:
        nodes = list(model.node)[::-1]
        del model.node[:]
        model.node.extend(nodes)
    model = without_value_quantizers(model)
    for node in model.node:
        node.attr.pop(ROLE_ATTRIBUTE, None)
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(model, name="")
        return session.run("out:0", {"x:0": X})
