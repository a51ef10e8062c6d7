"""Kernels that add the zero point of their result to the sum, as a whole number of steps."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.record import read_record
from graphquant_core.registry import load_registry
from graphquant_core.value_grid import ValueGrid
from graphquant_export.integer_reference import integer_reference
from graphquant_export.quantized.integers import zero_point_shift
from graphquant_export.quantized.simulate import simulate
from graphquant_export.quantized.target_simulation import simulate_target
from graphquant_export.verification import verify

v1 = tf.compat.v1
CHANNELS, BLOCKS = 12, 3


def network(activation):
    """Depthwise and pointwise convolutions, with batch norm in inference mode."""
    random = np.random.default_rng(5)
    graph = tf.Graph()

    def variable(name, low, high):
        values = random.uniform(low, high, CHANNELS).astype("f4")
        return v1.get_variable(name, initializer=values)

    def norm(y, name):
        ends = {"gamma": (1, 2), "beta": (-1, 1), "mean": (-1, 1)}
        gamma, beta, mean = (variable(f"{name}/{part}", *ends[part]) for part in ends)
        return v1.nn.fused_batch_norm(y, gamma, beta, mean, tf.ones(CHANNELS), is_training=False)[0]

    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 12, 12, CHANNELS], "x")
        y = x
        for i in range(BLOCKS):
            weight = random.normal(0, 0.4, (3, 3, CHANNELS, 1)).astype("f4")
            weight = v1.get_variable(f"dw{i}/w", initializer=weight)
            y = v1.nn.depthwise_conv2d_native(y, weight, [1, 1, 1, 1], "SAME", name=f"dw{i}/op")
            y = activation(norm(y, f"dw{i}"))
            weight = random.normal(0, 0.3, (1, 1, CHANNELS, CHANNELS)).astype("f4")
            weight = v1.get_variable(f"pw{i}/w", initializer=weight)
            y = activation(norm(tf.nn.conv2d(y, weight, 1, "SAME", name=f"pw{i}/op"), f"pw{i}"))
        tf.identity(y, name="y")
    return graph


def images(count):
    """Samples."""
    return np.random.default_rng(6).normal(0, 1, (count, 12, 12, CHANNELS)).astype("f4")


def rewritten(folder, target, activation=tf.nn.relu6):
    """(frozen graph, record) of a network whose ranges were found for `target`."""
    graph = network(activation)
    config, record = str(folder / "c.json"), str(folder / "r.txt")
    amct.create_quant_retrain_config(config, graph)
    ops = amct.create_quant_retrain_model(graph, config, record, target=target)
    with graph.as_default():
        loss = tf.reduce_sum(graph.get_tensor_by_name("y:0"))
        steps = v1.train.GradientDescentOptimizer(0.0).minimize(loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run(steps, {"x:0": images(8)})
            session.run(ops[-1])
            freeze = v1.graph_util.convert_variables_to_constants
            frozen = freeze(session, ops[-1].graph.as_graph_def(), ["y"])
    return frozen, read_record(record)


def run(graph_def, x):
    """The value of "y"."""
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run("y:0", {"x:0": x})


def simulation(frozen, record, target):
    """What `target` computes."""
    rules = load_registry().exporter(target).rules
    return simulate_target(simulate(frozen, ["y"], record), record, rules)


@pytest.mark.parametrize("activation", [tf.nn.relu6, tf.identity])
def test_what_mnn_computes_is_its_simulation(activation, tmp_path):
    """Through six layers, three of them depthwise, all but a code of ten thousand are the same."""
    pytest.importorskip("MNN", reason='needs pip install "graphquant-export[mnn]"')
    frozen, record = rewritten(tmp_path, "mnn", activation)
    exporter = load_registry().exporter("mnn")
    artifact = exporter.export(frozen, ["y"], record, tmp_path / "m")
    x, step = images(16), next(reversed(record.value_grids.values())).scale
    found = exporter.runtime(artifact).run({"x": x}, ["y"])["y"]
    (exact,) = integer_reference(simulation(frozen, record, "mnn").reference, ["y"], {"x": x})
    assert np.mean(np.rint(found / step) != np.rint(exact / step)) <= 1e-4


def test_what_is_trained_for_ascend_has_floats_there_on_mnn(tmp_path):
    """Its outputs are those of the frozen graph; with ranges observed, all its layers are int8."""
    pytest.importorskip("MNN", reason='needs pip install "graphquant-export[mnn]"')
    frozen, record = rewritten(tmp_path, "ascend", tf.identity)
    exporter, x = load_registry().exporter("mnn"), images(16)
    artifact = exporter.export(frozen, ["y"], record, tmp_path / "m")
    found = verify(artifact, {"x": x}, layers=True)
    kinds = {row.layer: row.execution for row in found.executions}
    assert {name for name, kind in kinds.items() if kind == "int8"} == {"pw0/op", "pw1/op"}
    assert found.outputs[0].simulation.mean <= 5e-3
    assert all(layer.own.mean <= 1e-4 for layer in found.layers)
    artifact = exporter.export(frozen, ["y"], record, tmp_path / "m", calibration={"x": x})
    assert all(row.execution == "int8" for row in artifact.planned)
    opened = exporter.open(tmp_path / "m", artifact.source)
    assert all(row.execution == "int8" for row in opened.planned)


def test_a_frozen_graph_has_the_zero_points_of_all_its_targets(tmp_path):
    """For MNN alone they are rounded, so that it computes what MNN does; for others, too, not."""
    x = images(16)
    found = {}
    for targets in (("mnn",), ("onnx", "mnn")):
        frozen, record = rewritten(tmp_path, targets)
        step = next(reversed(record.value_grids.values())).scale
        (exact,) = integer_reference(
            simulation(frozen, record, targets[0]).reference, ["y"], {"x": x}
        )
        found[targets[0]] = np.rint(run(frozen, x) / step)
        assert np.mean(found[targets[0]] != np.rint(exact / step)) <= 2e-4
    assert np.mean(found["mnn"] != found["onnx"]) >= 1e-3


def test_with_the_shift_a_zero_point_is_a_whole_number_of_steps():
    """(zero_point * scale + shift) / step is an integer, and the shift at most half a step."""
    step = np.random.default_rng(0).uniform(1e-6, 1e-3, 1000).astype(np.float32)
    for grid in (ValueGrid(0.0235, -128), ValueGrid(0.051, 37), ValueGrid(0.3, 0)):
        shift = zero_point_shift(step, grid)
        steps = (grid.zero_point * grid.scale + shift) / step.astype(np.float64)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
        assert np.all(np.abs(shift) <= step / 2 + 1e-12)
