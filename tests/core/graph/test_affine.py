"""What folds into a layer is found however it is written, and nothing else is taken for it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph import (
    BatchNorm,
    GraphView,
    PassThrough,
    Scale,
    Shift,
    Step,
    affine_tail,
    following_activation,
)

v1 = tf.compat.v1
CHANNELS = 4


def vector(name: str, low: float = 0.5) -> tf.Tensor:
    return tf.convert_to_tensor(
        v1.get_variable(name, [CHANNELS], initializer=v1.random_uniform_initializer(low, 2.0))
    )


def conv(x: tf.Tensor) -> tf.Tensor:
    weight = tf.constant(np.ones((1, 1, x.shape[-1], CHANNELS)), tf.float32)
    return tf.nn.conv2d(x, weight, 1, "SAME", name="conv")


def tail(graph: tf.Graph, keep: frozenset[str] = frozenset()) -> tuple[Step, ...]:
    view = GraphView(graph)
    return affine_tail(view, graph.get_tensor_by_name("conv:0"), 3, CHANNELS, keep)


def kinds(steps: tuple[Step, ...]) -> list[type]:
    return [type(step) for step in steps]


def start() -> tuple[tf.Graph, tf.Tensor]:
    graph = tf.Graph()
    with graph.as_default():
        return graph, conv(v1.placeholder(tf.float32, [2, 3, 3, CHANNELS], "x"))


def test_a_fused_batch_norm_in_inference_mode_folds_and_in_training_mode_does_not() -> None:
    """is_training decides."""
    for training in (False, True):
        graph, y = start()
        with graph.as_default():
            mean, variance = ([], []) if training else (vector("mean"), vector("variance"))
            tf.raw_ops.FusedBatchNormV3(
                x=y, scale=vector("gamma"), offset=vector("beta"), mean=mean, variance=variance,
                epsilon=0.01, is_training=training,
            )  # fmt: skip
        steps = tail(graph)
        assert kinds(steps) == ([] if training else [BatchNorm])
        if not training:
            assert isinstance(steps[0], BatchNorm)
            assert steps[0].epsilon == pytest.approx(0.01)


def test_an_unfused_batch_norm_is_a_scale_and_a_shift() -> None:
    """tf.nn.batch_normalization with stored statistics."""
    graph, y = start()
    with graph.as_default():
        tf.nn.batch_normalization(
            y, vector("mean"), vector("variance"), vector("beta"), vector("gamma"), 0.01
        )
    assert kinds(tail(graph)) == [Scale, Shift]


def test_an_unfused_batch_norm_of_the_batch_does_not_fold() -> None:
    """Its factors depend on the data."""
    graph, y = start()
    with graph.as_default():
        mean, variance = tf.nn.moments(y, [0, 1, 2])
        tf.nn.batch_normalization(y, mean, variance, vector("beta"), vector("gamma"), 0.01)
    assert tail(graph) == ()


def test_a_keras_batch_normalization_is_a_scale_and_a_shift() -> None:
    """Keras 3 writes it unfused."""
    graph = tf.Graph()
    with graph.as_default():
        y = conv(v1.placeholder(tf.float32, [2, 3, 3, CHANNELS], "x"))
        tf.keras.layers.BatchNormalization()(y, training=False)
    assert kinds(tail(graph)) == [Scale, Shift]


def test_bias_and_factors_fold_in_their_order() -> None:
    """BiasAdd, Add, AddV2, Sub and Mul of channel vectors and scalars."""
    graph, y = start()
    with graph.as_default():
        y = tf.nn.bias_add(y, vector("a"))
        y = tf.raw_ops.Add(x=vector("b"), y=y)
        y = tf.raw_ops.AddV2(x=y, y=tf.constant(1.0))
        y = y - vector("c")
        y = tf.reshape(vector("d"), [1, 1, 1, CHANNELS]) * y
    steps = tail(graph)
    assert kinds(steps) == [Shift, Shift, Shift, Shift, Scale]
    assert [step.sign for step in steps if isinstance(step, Shift)] == [1, 1, 1, -1]


def test_a_vector_along_another_axis_and_a_constant_minus_y_do_not_fold() -> None:
    """Only what is constant along everything but the channels is a channel vector."""
    for other in (np.ones((3, 1), np.float32), np.ones((3, CHANNELS), np.float32)):
        graph, y = start()
        with graph.as_default():
            tf.raw_ops.AddV2(x=y, y=tf.constant(other))
        assert tail(graph) == ()
    graph, y = start()
    with graph.as_default():
        tf.raw_ops.Sub(x=vector("a"), y=y)
    assert tail(graph) == ()


def test_an_add_of_another_branch_does_not_fold() -> None:
    """A residual addition depends on data."""
    graph, y = start()
    with graph.as_default():
        y = y + graph.get_tensor_by_name("x:0")
    assert tail(graph) == ()


def test_the_tail_ends_where_a_second_consumer_or_a_kept_output_needs_the_value() -> None:
    """Folding past it would change what that consumer sees."""
    for second in (True, False):
        graph, y = start()
        with graph.as_default():
            biased = tf.nn.bias_add(y, vector("a"), name="bias")
            scaled = biased * vector("b")
            if second:
                tf.nn.relu(biased)
            tf.nn.relu(scaled)
        keep = frozenset() if second else frozenset({"bias"})
        assert kinds(tail(graph, keep)) == [Shift]


def test_a_squeeze_in_between_is_passed_and_one_at_the_end_is_not_part() -> None:
    """conv1d squeezes before its bias; the channel axis moves with it."""
    graph = tf.Graph()
    with graph.as_default():
        y = conv(v1.placeholder(tf.float32, [2, 1, 3, CHANNELS], "x"))
        y = tf.nn.bias_add(tf.squeeze(y, [1]), vector("a"))
        tf.squeeze(y)
    assert kinds(tail(graph)) == [PassThrough, Shift]


def test_the_activation_behind_a_tensor_is_found() -> None:
    """Relu6 as the only consumer."""
    graph, y = start()
    with graph.as_default():
        relu = tf.nn.relu6(y)
    assert following_activation(GraphView(graph), y) is relu.op
    assert following_activation(GraphView(graph), relu) is None
