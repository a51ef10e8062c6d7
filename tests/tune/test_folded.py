"""A folded model computes what the model does, and is a weight and a bias for each layer."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import NonFiniteError, OutputNotFoundError
from graphquant_core.graph.frozen import cpu_session, import_frozen
from graphquant_tune.folded import fold_model

v1 = tf.compat.v1
IMAGES = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype(np.float32)


def run(graph_def, outputs, x=IMAGES):
    graph = import_frozen(graph_def)
    with cpu_session(graph) as session:
        return session.run([f"{name}:0" for name in outputs], {"images:0": x})


def build(new_net, form):
    """(graph, outputs) of a model in one of several forms."""
    nchw = form == "nchw"
    with tf.Graph().as_default() as graph:
        net = new_net(2, "NCHW" if nchw else "NHWC")
        x = v1.placeholder(tf.float32, [None, 3, 8, 8] if nchw else [None, 8, 8, 3], "images")
        outputs = ["y"]
        if form == "layer is an output":
            net.conv(x, 4, 3, "y")
        elif form == "norm is an output":
            tf.identity(net.norm(net.conv(x, 4, 3, "conv")), name="y")
            outputs = ["FusedBatchNormV3"]
        elif form == "shared weight":
            w = tf.constant(net.weight(3, 3, 3, 4, fan_in=27))
            first = tf.nn.conv2d(x, w, 1, "SAME", name="first") + net.vector(-1, 1, 4)
            second = tf.nn.conv2d(tf.nn.relu(-x), w, 1, "SAME", name="second")
            tf.add(first, second, name="y")
        elif form == "shared weight, own norms":
            w = tf.constant(net.weight(3, 3, 3, 4, fan_in=27))
            first = net.norm(tf.nn.conv2d(x, w, 1, "SAME", name="first"))
            second = net.norm(tf.nn.conv2d(tf.nn.relu(-x), w, 1, "SAME", name="second"))
            tf.add(first, second, name="y")
        elif form == "squeezed":
            y = tf.nn.conv2d(x, net.weight(8, 8, 3, 5, fan_in=192), 1, "VALID", name="conv")
            tf.nn.softmax(tf.squeeze(y, [1, 2]) * 2.0 + net.vector(-1, 1, 5), name="y")
        elif form == "taken twice":
            y = net.conv(x, 4, 3, "conv")
            tf.add(net.norm(y), tf.nn.relu(y), name="y")
        elif form == "transposed":
            sizes = tf.stack([tf.shape(x)[0], 16, 16, 6])
            y = tf.nn.conv2d_transpose(x, net.weight(2, 2, 6, 3, fan_in=3), sizes, 2, name="up")
            tf.nn.relu(net.norm(y), name="y")
        else:
            y = tf.nn.relu(net.norm(net.conv(x, 6, 3, "conv")))
            y = tf.nn.relu6(net.norm(net.depthwise(y, "depthwise")))
            y = net.conv(y, 4, 1, "pointwise") - tf.reshape(
                tf.constant(net.vector(-1, 1, 4)), [1, 4, 1, 1] if nchw else [4]
            )
            tf.identity(y, name="y")
    return graph.as_graph_def(), outputs


FORMS = (
    "plain", "nchw", "layer is an output", "norm is an output", "shared weight",
    "shared weight, own norms", "squeezed", "taken twice", "transposed",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_folded_model_computes_what_the_model_does(new_net, form):
    """To float32's rounding; every op that multiplied or added a vector behind a layer is gone."""
    graph_def, outputs = build(new_net, form)
    folded = fold_model(graph_def, outputs)
    x = IMAGES.transpose(0, 3, 1, 2) if form == "nchw" else IMAGES
    for wanted, found in zip(
        run(graph_def, outputs, x), run(folded.graph_def, outputs, x), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert folded.outputs == tuple(outputs)
    kept = form == "taken twice"
    assert any(node.op.startswith("FusedBatchNorm") for node in folded.graph_def.node) == kept


def test_layers_share_a_weight_as_long_as_nothing_different_is_in_it(new_net):
    """One constant for both; two where their norms have different factors."""
    both = fold_model(*build(new_net, "shared weight")).layers
    assert both[0].weight == both[1].weight
    apart = fold_model(*build(new_net, "shared weight, own norms")).layers
    assert apart[0].weight != apart[1].weight


def test_other_values_take_the_place_of_the_constants(new_net):
    """A bias that is one larger moves the output by one."""
    graph_def, outputs = build(new_net, "shared weight")
    folded = fold_model(graph_def, outputs)
    (name,) = [layer.bias for layer in folded.layers if layer.name == "second"]
    moved = folded.with_values({name: folded.values()[name] + 1})
    (before,), (after,) = run(folded.graph_def, outputs), run(moved, outputs)
    np.testing.assert_allclose(after, before + 1, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_folded_is_refused(new_net):
    """The error names the output or the op."""
    graph_def, _ = build(new_net, "plain")
    with pytest.raises(OutputNotFoundError, match="nothing"):
        fold_model(graph_def, ["nothing"])
    with tf.Graph().as_default() as graph:
        net = new_net(0)
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
        tf.identity(net.conv(x, 2, 3, "conv") * np.float32([1, np.nan]), name="y")
    with pytest.raises(NonFiniteError, match="mul"):
        fold_model(graph.as_graph_def(), ["y"])
