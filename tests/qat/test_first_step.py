"""Before its first step TensorFlow optimises the graph, which takes time for each op and edge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct

v1 = tf.compat.v1


def training_graph(
    folder: Path, layers: int, activation: str, quantised: bool
) -> tuple[tf.Graph, tf.Operation]:
    """Convolutions with batch norm and moving averages on 2 images of 8 x 8 x 4; the step."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder_with_default(np.ones((2, 8, 8, 4), np.float32), (2, 8, 8, 4))
        for index in range(layers):
            with v1.variable_scope(f"block{index}"):
                weight = v1.get_variable("weight", (3, 3, 4, 4))
                ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
                x = tf.nn.conv2d(x, weight, 1, "SAME")
                x, mean, _ = v1.nn.fused_batch_norm(x, ones, zeros, is_training=True)
                average = v1.get_variable("mean", [4], trainable=False)
                v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, average.assign(mean))
                x = getattr(tf.nn, activation)(x)
        loss = tf.reduce_mean(tf.square(x))
        if quantised:
            files = [str(folder / name) for name in ("config.json", "record.txt")]
            amct.create_quant_retrain_config(files[0], graph)
            amct.create_quant_retrain_model(graph, *files)
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            step = v1.train.GradientDescentOptimizer(0.01).minimize(loss)
    return graph, step


def ops_that_run(graph: tf.Graph, step: tf.Operation) -> int:
    """How many are left of the ops of `step` when TensorFlow has optimised them."""
    with v1.Session(graph=graph) as session:
        with graph.as_default():
            session.run(v1.global_variables_initializer())
        metadata = v1.RunMetadata()
        options = v1.RunOptions(output_partition_graphs=True)
        session.run(step, options=options, run_metadata=metadata)
    return sum(len(partition.node) for partition in metadata.partition_graphs)


@pytest.mark.parametrize("activation", ["relu6", "tanh"])
def test_a_layer_costs_a_training_step_two_dozen_ops_at_most(
    tmp_path: Path, activation: str
) -> None:
    """Three layers more, fake-quantised beside float: what they call isn't inlined for each."""
    counts = [
        ops_that_run(*training_graph(tmp_path, layers, activation, quantised))
        for quantised in (True, False)
        for layers in (6, 3)
    ]
    assert counts[0] - counts[1] - (counts[2] - counts[3]) <= 3 * 24


def test_a_gradient_waits_for_moving_averages_in_one_place_a_layer(tmp_path: Path) -> None:
    """An optimizer that waits for all of them lets few ops of a layer have an edge from each."""
    layers = 4
    waiting = []
    for quantised in (True, False):
        graph, _ = training_graph(tmp_path, layers, "relu6", quantised)
        updates = {op.name for op in graph.get_collection(v1.GraphKeys.UPDATE_OPS)}
        waiting.append(
            sum(
                updates <= {source.name for source in op.control_inputs}
                for op in graph.get_operations()
            )
        )
        assert len(updates) == layers
    assert waiting[0] - waiting[1] <= 3 * layers
