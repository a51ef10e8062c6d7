"""Products with a weight, as frameworks write them down, are layers with their bias."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph import plan_graph
from graphquant_export.inputs.dense_layers import with_dense_layers
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.rewriting.site import Site

v1 = tf.compat.v1
RANDOM = np.random.default_rng(9)


def weight(*shape):
    return RANDOM.normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32)


def einsum(equation, *shape):
    def product(x):
        return tf.raw_ops.Einsum(inputs=[x, weight(*shape)], equation=equation)

    return product


def weight_on_the_left(x):
    return tf.raw_ops.Einsum(inputs=[weight(8, 6), x], equation="cd,abc->abd")


def batches(x):
    return tf.raw_ops.BatchMatMulV2(x=x, y=weight(8, 6))


def adjoint_batches(x):
    return tf.raw_ops.BatchMatMulV2(x=x, y=weight(6, 8), adj_y=True)


def tensordot(x):
    return tf.tensordot(x, weight(8, 6), 1)


PRODUCTS = {
    "last axis": (einsum("abc,cd->abd", 8, 6), (6,)),
    "into heads": (einsum("abc,cde->abde", 8, 3, 2), (3, 2)),
    "turned weight": (einsum("abc,dc->abd", 6, 8), (6,)),
    "weight on the left": (weight_on_the_left, (6,)),
    "batches": (batches, (6,)),
    "adjoint batches": (adjoint_batches, (6,)),
    "tensordot": (tensordot, (6,)),
}


def heads(x):
    return einsum("abcd,cde->abe", 4, 2, 6)(tf.reshape(x, [-1, x.shape[1] or 5, 4, 2]))


PRODUCTS["out of heads"] = (heads, (6,))

# The value of a BiasAdd has one axis.
BIASED = [
    (name, bias)
    for name, (_, size) in PRODUCTS.items()
    for bias in (None, "AddV2", "left", *(["BiasAdd"] if len(size) == 1 else []))
]


def built(product, size, bias, length, ends):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, length, 8], name="x")
        y = product(x)
        if bias == "BiasAdd":
            y = tf.nn.bias_add(y, weight(*size))
        elif bias == "left":
            y = weight(*size) + y
        elif bias is not None:
            y = y + weight(1, *size)
        tf.identity(ends(y), name="out")
    return graph.as_graph_def()


def run(graph_def, x):
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run("out:0", {"x:0": x})


@pytest.mark.parametrize("length", [5, None])
@pytest.mark.parametrize(("name", "bias"), BIASED)
def test_a_product_with_a_weight_is_a_layer_with_its_bias(name, bias, length):
    """It has a MatMul, whose bias is folded, and gives what it did."""
    product, size = PRODUCTS[name]
    model = built(product, size, bias, length, tf.nn.relu)
    turned = with_dense_layers(model, ["out"])
    x = RANDOM.normal(size=(4, 5, 8)).astype(np.float32)
    np.testing.assert_allclose(run(turned, x), run(model, x), atol=1e-5)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(turned, name="")
    (layer,) = plan_graph(graph).layers
    assert layer.op_type == "MatMul"
    record = quantize_post_training(turned, ["out"], {"x": x})
    (simulated,) = simulate(turned, ["out"], record).layers
    if name != "tensordot" or length is not None:
        assert (simulated.bias is not None) == (bias is not None)


def test_a_bias_that_is_not_one_stays():
    """Where the product is taken elsewhere, too, or what is added is no number for each column."""

    def taken_twice(y):
        return tf.nn.relu(y + weight(6)) + tf.reduce_mean(y)

    for ends in (taken_twice, lambda y: y + weight(5, 1), lambda y: y + weight(5, 6)):
        model = built(batches, (6,), None, 5, ends)
        turned = with_dense_layers(model, ["out"])
        x = RANDOM.normal(size=(4, 5, 8)).astype(np.float32)
        np.testing.assert_allclose(run(turned, x), run(model, x), atol=1e-5)
        assert "BiasAdd" not in {node.op for node in turned.node}


def test_a_product_of_data_is_no_layer():
    """Neither is one with a weight for each batch."""
    for other in (lambda x: tf.transpose(x, [0, 2, 1]), lambda _: weight(4, 8, 6)):
        model = built(lambda x, y=other: tf.matmul(x, y(x)), (), None, 5, tf.nn.relu)
        assert with_dense_layers(model, ["out"]) is model


def test_a_graph_with_fake_quantisers_stays_as_it_was_trained():
    """Its grids are those of the ops that it has."""
    model = built(batches, (6,), "AddV2", 5, tf.quantization.fake_quant_with_min_max_args)
    assert with_dense_layers(model, ["out"]) is model


def test_what_is_added_is_computed_only_where_a_product_is_reshaped(monkeypatch):
    """A session for each bias of a large model took longer than everything else on loading it."""
    computed = []
    monkeypatch.setattr(Site, "value", lambda site, port: computed.append((site.op.name, port)))
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 5, 8], "x")
        product = tf.linalg.matmul(tf.reshape(x, [-1, 8]), weight(8, 6))
        for shaped in (tf.reshape(x, [-1, 40]), tf.identity(product), x):
            tf.add(shaped, tf.sqrt(tf.ones(shaped.shape[-1])), "out")
    with_dense_layers(graph.as_graph_def(), ["out", "out_1", "out_2"])
    assert computed == []
