"""Rules of the plan and the configuration that follow from where a layer stands in its graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.graph import GraphView
from graphquant_qat.graph.trainable_plan import plan_training

v1 = tf.compat.v1


def squeeze_and_bias(x: tf.Tensor) -> tf.Tensor:
    bias = v1.get_variable("bias", [5])
    return tf.identity(tf.nn.bias_add(tf.squeeze(x, [1, 2]), bias))


@pytest.mark.parametrize(
    ("tail", "channel_wise"),
    [
        (tf.nn.softmax, False),
        (lambda x: tf.nn.softmax(squeeze_and_bias(x)), False),
        (lambda x: tf.nn.softmax(tf.reshape(x + v1.get_variable("bias", [5]), [-1, 5])), False),
        (squeeze_and_bias, True),
        (lambda x: tf.nn.softmax(tf.nn.relu(x)), True),
    ],
    ids=["softmax", "squeeze, bias", "bias, reshape", "no softmax", "relu between"],
)
def test_a_convolution_that_makes_class_scores_has_one_scale(
    tail: Callable[[tf.Tensor], tf.Tensor], channel_wise: bool, tmp_path: Path
) -> None:
    """channel_wise is false when nothing but bias and reshaping stands before the softmax."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 1, 1, 8])
        tail(tf.nn.conv2d(x, v1.get_variable("w", [1, 1, 8, 5]), 1, "SAME", name="scores"))
    config_file = tmp_path / "config.json"
    amct.create_quant_retrain_config(str(config_file), graph)
    entry = json.loads(config_file.read_text())["scores"]
    assert entry["retrain_weight_config"]["channel_wise"] is channel_wise


def test_a_layer_in_a_while_loop_is_skipped_with_a_reason() -> None:
    """The plan says what to do, before anything is trained; what stands outside is quantised."""
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [None, 4])
            weights = [v1.get_variable(f"w{index}", [4, 4]) for index in range(2)]
            x = tf.matmul(x, weights[0], name="outside")
            v1.while_loop(
                lambda step, _: step < 3,
                lambda step, y: (step + 1, tf.matmul(y, weights[1], name="inside")),
                (tf.constant(0), x),
            )
    finally:
        v1.enable_control_flow_v2()
    plan = plan_training(GraphView(graph))
    assert [layer.name for layer in plan.layers] == ["outside"]
    (skip,) = plan.skips
    assert skip.name == "while/inside"
    assert "unroll the loop" in skip.reason
