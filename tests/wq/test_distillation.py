"""The float model teaches beside weights of few bits, before or after they are quantised."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_wq import (
    WeightQuantizer,
    distillation_loss,
    reestimate_batch_norm,
    strip_wq_ops,
)

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(32, 6, 6, 2)).astype(np.float32)


def build(training):
    """A convolution with batch norm, and class scores."""
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(1)
        x = v1.placeholder(tf.float32, [None, 6, 6, 2], "x")
        y = tf.nn.conv2d(x, v1.get_variable("kernel", [3, 3, 2, 8]), 1, "SAME", name="conv")
        ones, zeros = v1.ones_initializer(), v1.zeros_initializer()
        gamma = v1.get_variable("gamma", [8], initializer=ones)
        beta = v1.get_variable("beta", [8], initializer=zeros)
        mean, variance = (
            v1.get_variable(n, [8], initializer=i, trainable=False)
            for n, i in (("mean", zeros), ("variance", ones))
        )
        if training:
            y, batch_mean, batch_variance = v1.nn.fused_batch_norm(y, gamma, beta)
            for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
                update = v1.assign_sub(moving, (moving - batch) * 0.1)
                v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
        else:
            y, *_ = v1.nn.fused_batch_norm(y, gamma, beta, mean, variance, is_training=False)
        y = tf.reshape(tf.nn.relu(y), [-1, 288])
        tf.nn.softmax(tf.matmul(y, v1.get_variable("w", [288, 3]), name="layer"), name="prob")
    return graph


@pytest.mark.parametrize("first", [True, False])
def test_weights_learn_the_float_answers_and_the_teacher_goes(first, tmp_path):
    """Half of the distance is gone after some steps; what is frozen has nothing of the teacher."""
    own, graph = build(False), build(True)
    with own.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        checkpoint = v1.train.Saver().save(session, str(tmp_path / "float"))
    loss = distillation_loss(own, ["prob"], checkpoint=checkpoint, graph=graph) if first else None
    quantizer = WeightQuantizer(graph, 2)
    assert [layer.name for layer in quantizer.plan.layers] == ["conv", "layer"]
    if loss is None:
        loss = distillation_loss(own, ["prob"], checkpoint=checkpoint, graph=graph)
    with graph.as_default():
        optimizer = quantizer.in_step_units(v1.train.AdamOptimizer(4e-3))
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            step = optimizer.minimize(loss)
        initialise, saver = v1.global_variables_initializer(), v1.train.Saver()
    with v1.Session(graph=graph) as session:
        session.run(initialise)
        with graph.as_default():
            v1.train.Saver(v1.trainable_variables()).restore(session, checkpoint)
        quantizer.init(session)
        losses = [session.run([loss, step], {"x:0": X})[0] for _ in range(60)]
        assert np.mean(losses[-5:]) < 0.5 * losses[0]
        assert reestimate_batch_norm(session, [{"x:0": X}]) == 2
        trained = saver.save(session, str(tmp_path / "trained"))
        strip_wq_ops(graph)
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["prob"]
        )
    known = v1.train.load_checkpoint(trained).get_variable_to_shape_map()
    assert not any("distillation" in name for name in known)
    assert not any("distillation" in node.name for node in frozen.node)
