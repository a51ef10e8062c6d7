"""A batch without samples, such as the last part of an uneven one, teaches nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct

v1 = tf.compat.v1

FUNCTIONS = {"relu": tf.nn.relu, "relu6": tf.nn.relu6, "tanh": tf.tanh, "none": tf.identity}
EMPTY = np.zeros((0, 6, 6, 4), np.float32)
BATCHES = np.random.default_rng(0).normal(size=(3, 4, 6, 6, 4)).astype(np.float32)


def build(function: str) -> tuple[tf.Graph, tf.Tensor]:
    """Layers and the loss; no depthwise one, whose gradient TensorFlow leaves undefined then."""
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(2)
        y = v1.placeholder(tf.float32, [None, 6, 6, 4], "x")
        kernel = v1.get_variable("conv_kernel", [3, 3, 4, 4])
        y = FUNCTIONS[function](tf.nn.conv2d(y, kernel, 1, "SAME", name="conv"))

        y = tf.nn.avg_pool2d(FUNCTIONS[function](y), 2, 2, "VALID", name="pool")
        y = tf.reshape(y, [-1, 36])
        y = tf.matmul(y, v1.get_variable("dense", [36, 3]), name="fc")
        y = tf.nn.bias_add(y, v1.get_variable("bias", [3], initializer=v1.zeros_initializer()))
        loss = tf.reduce_sum(tf.square(y - 1.0))
    return graph, loss


def rewrite(graph: tf.Graph, folder: Path, batch_num: int, algo: str, target: str) -> None:
    config = folder / "c.json"
    amct.create_quant_retrain_config(config, graph)
    content = json.loads(config.read_text())
    content["batch_num"] = batch_num
    for layer in content.values():
        if isinstance(layer, dict) and "retrain_weight_config" in layer:
            layer["retrain_weight_config"]["algo"] = algo
    config.write_text(json.dumps(content))
    amct.create_quant_retrain_model(graph, config, folder / "r.txt", target=target)


@pytest.mark.parametrize("target", ["ascend", "litert"])
@pytest.mark.parametrize(
    ("batch_num", "algo", "function"),
    [
        (1, "arq_retrain", "relu"),
        (1, "arq_retrain", "relu6"),
        (2, "arq_retrain", "tanh"),
        (2, "ulq_retrain", "none"),
    ],
)
def test_empty_batches_change_nothing_and_the_search_waits(
    batch_num: int, algo: str, function: str, target: str, tmp_path: Path
) -> None:
    """Before, between and after the batches that start values come from.

    What the variables hold is what they hold without the empty batches, bit for bit; before the
    first samples nothing but scales of weights, which need no samples, has changed.
    """
    graph, loss = build(function)
    rewrite(graph, tmp_path, batch_num, algo, target)
    with graph.as_default():
        step = v1.train.GradientDescentOptimizer(0.01).minimize(loss)
        variables = v1.global_variables()
        ranges = [v for v in variables if "ULQ_" in v.name and "ULQ_scale" not in v.name]
        saver = v1.train.Saver()
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            saver.save(session, str(tmp_path / "start"))
            before = dict(zip((v.name for v in variables), session.run(variables), strict=True))
            session.run(step, {"x:0": EMPTY})
            for variable, value in zip(variables, session.run(variables), strict=True):
                if "ULQ_scale" not in variable.name:
                    np.testing.assert_array_equal(value, before[variable.name], variable.name)
            for batch in BATCHES:
                session.run(step, {"x:0": batch})
                session.run(step, {"x:0": EMPTY})
            with_empty = session.run(variables)
            saver.restore(session, str(tmp_path / "start"))
            for batch in BATCHES:
                session.run(step, {"x:0": batch})
            without = session.run(variables)
    assert ranges
    for variable, one, other in zip(variables, with_empty, without, strict=True):
        np.testing.assert_array_equal(one, other, variable.name)
