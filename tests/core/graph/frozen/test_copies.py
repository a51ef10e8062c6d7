"""The same ops behind many tensors are what TensorFlow makes of them one by one."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from graphquant_core.graph.frozen import add_for_each

v1 = tf.compat.v1
RANDOM = np.random.default_rng(2)


def ends(value, scale):
    flat = tf.reshape(value, [-1])
    return tf.stack([tf.reduce_min(flat), tf.reduce_max(flat)]) * scale, tf.size(flat)


def test_copies_compute_what_the_ops_themselves_compute():
    """For any shapes, also of one tensor twice, in a graph that has such names already."""
    with tf.Graph().as_default() as graph, v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], "x")
        scale = v1.placeholder(tf.float32, [], "shared_0")
        tensors = [x, tf.square(x, "graphquant_x"), tf.reduce_sum(x), tf.shape(x, tf.int64), x]
        tensors[3] = tf.cast(tensors[3], tf.float32)
        copies = [*add_for_each(graph, tensors, ends, [scale])]
        copies += add_for_each(graph, tensors, ends, [scale])
        own = [ends(tensor, scale) for tensor in tensors] * 2
        fed = {x: RANDOM.normal(size=(5, 3)), scale: 2.5}
        for found, expected in zip(*session.run([copies, own], fed), strict=True):
            np.testing.assert_array_equal(found[0], expected[0])
            assert found[1] == expected[1]


def test_copies_share_their_constants():
    """And none is made for no tensor."""
    with tf.Graph().as_default() as graph:
        tensors = [v1.placeholder(tf.float32, None) for _ in range(50)]
        scale = tf.constant(2.0)
        before = len(graph.get_operations())
        assert add_for_each(graph, [], ends, [scale]) == []
        assert len(graph.get_operations()) == before
        add_for_each(graph, tensors, ends, [scale])
        constants = [op for op in graph.get_operations()[before:] if op.type == "Const"]
        assert 0 < len(constants) < 10
