"""What a target's runtime computes is what its simulation says, to the last code."""

from __future__ import annotations

import logging

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import RecordError
from graphquant_core.record import Record
from graphquant_core.registry import load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_core.value_grid import ValueGrid
from graphquant_export.integer_reference import integer_reference
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.quantized.target_simulation import simulate_target
from graphquant_export.targets.rules import LITERT, MNN, ONNX
from graphquant_export.verification import verify

v1 = tf.compat.v1
TARGETS = {"onnx": ONNX, "litert": LITERT, "mnn": MNN}
TIES = 0.02
"""Mean difference in steps: the runtimes break ties between two codes differently."""


class Net:
    """Seeded weights, and an image."""

    def __init__(self, size=12):
        self.random = np.random.default_rng(0)
        self.x = v1.placeholder(tf.float32, [None, size, size, 3], "x")
        self.feeds = {"x": self.random.normal(size=(12, size, size, 3)).astype(np.float32)}

    def conv(self, x, name, channels=8, size=3, stride=1, gain=1.0):
        fan_in = size * size * int(x.shape[-1])
        shape = [size, size, int(x.shape[-1]), channels]
        weight = gain * self.random.normal(0, fan_in**-0.5, shape)
        bias = self.random.normal(0, 0.1, channels)
        y = tf.nn.conv2d(x, weight.astype(np.float32), stride, "SAME", name=name)
        return tf.nn.bias_add(y, bias.astype(np.float32))


def residual(net):
    """Additions, one of them of two layers, and a mean."""
    y = tf.nn.relu(net.conv(net.x, "c1"))
    y = tf.nn.relu(y + net.conv(tf.nn.relu(net.conv(y, "c2")), "c3"))
    y = tf.nn.relu(net.conv(y, "c4", stride=2) + net.conv(y, "c5", size=1, stride=2))
    weight = net.random.normal(size=(8, 5)).astype(np.float32)
    return tf.matmul(tf.reduce_mean(y, [1, 2]), weight, name="fc")


def joined(net):
    """Concatenations of results, with each other and with what a pooling leaves of them."""
    y = tf.nn.relu(net.conv(net.x, "c1"))
    pooled = tf.nn.max_pool2d(y, 3, 1, "SAME")
    y = tf.nn.relu(tf.concat([net.conv(y, "c2"), net.conv(y, "c3", 4, 1), pooled], 3))
    return net.conv(tf.concat([y, net.conv(y, "c4", 4)], 3), "c5", 4)


def scaled(net):
    """A factor, a difference, a leaky activation, a resized and a gated value."""
    y = tf.nn.leaky_relu(net.conv(net.x, "c1"))
    y = y * 0.5 - net.conv(y, "c2")
    y = v1.image.resize_bilinear(y, [18, 18], half_pixel_centers=True)
    y = y * tf.sigmoid(net.conv(y, "c3"))
    return net.conv(tf.tanh(y), "c4", 4)


def hard_swish(net):
    """A hard swish between two layers."""
    y = net.conv(net.x, "c1")
    y = y * tf.nn.relu6(y + 3.0) * (1 / 6)
    return net.conv(y, "c2", 4)


def shared(net):
    """One result that layers, a pooling and an addition take."""
    y = tf.nn.relu(net.conv(net.x, "c1"))
    pooled = tf.nn.max_pool2d(y, 2, 2, "SAME")
    a = net.conv(pooled, "c2", 8, 1)
    return net.conv(tf.nn.relu(tf.add(a, pooled)), "c3", 4) + net.conv(y, "c4", 4, stride=2)


def build(architecture):
    """(frozen graph, feeds) with the output "y"."""
    with tf.Graph().as_default() as graph:
        net = Net()
        tf.identity(architecture(net), name="y")
    return graph.as_graph_def(), net.feeds


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("architecture", [residual, joined, scaled, hard_swish, shared])
def test_the_runtime_computes_the_targets_simulation(architecture, target, tmp_path):
    """From the completed record alone: every result is that of exact sums on the plan's grids."""
    model, feeds = build(architecture)
    record = quantize_post_training(model, ["y"], feeds)
    exporter = load_registry().exporter(target)
    artifact = exporter.export(model, ["y"], record, tmp_path / "a", calibration=feeds)
    completed = artifact.source.record
    again = exporter.export(model, ["y"], completed, tmp_path / "b")
    for one, other in zip(artifact.paths, again.paths, strict=True):
        if one.suffix in (".tflite", ".onnx", ".mnn"):
            assert one.read_bytes() == other.read_bytes()
    runtime = exporter.runtime(again)
    assert {row.execution for row in runtime.executions()} == {"int8"}
    simulated = simulate(model, ["y"], completed)
    done = simulate_target(simulated, completed, TARGETS[target])
    (exact,) = integer_reference(done.reference, ["y"], feeds)
    got = runtime.run(feeds, ["y"])["y"]
    step = done.results["c4" if "c4" in record else "c2"].grid.scale
    assert np.abs(got - exact).mean() <= TIES * step


def test_a_target_that_returns_floats_rounds_nothing_more():
    """Without rules the simulation of a target is that of the layers."""
    model, feeds = build(residual)
    record = quantize_post_training(model, ["y"], feeds)
    simulated = simulate(model, ["y"], record)
    done = simulate_target(simulated, record, TargetRules(), feeds)
    assert (done.values, done.results, done.record) == ((), {}, record)
    assert done.graph_def == simulated.graph_def


@pytest.mark.parametrize("rules", [LITERT, MNN, ONNX])
def test_without_grids_nothing_is_rounded_but_what_a_quantiser_takes(rules):
    """A record of the layers alone gives integer results where one quantiser takes all of one."""
    model, feeds = build(residual)
    record = quantize_post_training(model, ["y"], feeds)
    simulated = simulate(model, ["y"], record)
    done = simulate_target(simulated, record, rules)
    assert done.values == ()
    assert list(done.results) == ["c2"]
    assert done.results["c2"].grid == record["c3"].activation_grid
    assert done.graph_def == simulated.graph_def


def test_an_observed_grid_is_that_of_the_quantiser_where_it_holds_all():
    """What a layer takes and an addition too has one grid for both; else one of its own."""
    model, feeds = build(residual)
    record = quantize_post_training(model, ["y"], feeds, activation="min_max")
    done = simulate_target(simulate(model, ["y"], record), record, ONNX, feeds)
    assert done.results["c1"].grid == record["c2"].activation_grid
    clipped = attrs.evolve(record["c2"], scale_d=record["c2"].scale_d / 4)
    narrow = Record({**record, "c2": clipped})
    done = simulate_target(simulate(model, ["y"], narrow), narrow, ONNX, feeds)
    assert done.results["c1"].grid.scale == pytest.approx(record["c2"].scale_d, rel=0.02)


def test_a_value_that_the_model_lacks_is_named():
    """A record's value must be a tensor of the model, or the result of a layer."""
    model, feeds = build(residual)
    record = quantize_post_training(model, ["y"], feeds)
    record = Record(record.factors, value_grids={"ad:0": ValueGrid(1.0, 0)})
    with pytest.raises(RecordError, match='record of value "ad:0"'):
        simulate_target(simulate(model, ["y"], record), record, LITERT)


def unequal(op):
    """Two results, one 1000 times the other, that `op` makes one of, between layers."""

    def network(net):
        small = net.conv(net.x, "small", 4)
        large = net.conv(net.x, "large", 4, gain=1000.0)
        y = op(small, large)
        return net.conv(y, "c1", 4) + net.conv(0.5 * y, "c2", 4)

    return network


UNITING = {
    "concat": lambda a, b: tf.concat([a, b], 3),
    "concat of pooled": lambda a, b: tf.concat(
        [tf.nn.max_pool2d(a, 2, 1, "SAME"), tf.nn.max_pool2d(b, 2, 1, "SAME")], 3
    ),
    "add": tf.add,
    "sub": tf.subtract,
    "pack": lambda a, b: tf.reshape(tf.stack([a, b], 3), [-1, 12, 12, 8]),
    "add and relu": lambda a, b: tf.nn.relu(a + b),
}


@pytest.mark.parametrize("kind", UNITING)
def test_an_op_that_would_lose_an_operand_computes_in_float(kind, caplog):
    """What keeps less than 4 bits of one of its operands has no grid, and a warning says why."""
    model, feeds = build(unequal(UNITING[kind]))
    record = quantize_post_training(model, ["y"], feeds, equalize=False)
    with caplog.at_level(logging.WARNING):
        done = simulate_target(simulate(model, ["y"], record), record, LITERT, feeds)
    # The results of the four layers; what unites two of them isn't among the values.
    assert [value.source.rpartition("/")[2] for value in done.values] == ["BiasAdd"] * 4
    assert "would keep less than 4 of its 8 bits" in caplog.text


def test_channels_of_one_size_lose_nothing_where_they_are_joined(caplog):
    """Once a thousandfold part of a concatenation is scaled, all of it has a grid of integers."""
    model, feeds = build(unequal(UNITING["concat"]))
    record = quantize_post_training(model, ["y"], feeds)
    with caplog.at_level(logging.WARNING):
        done = simulate_target(simulate(model, ["y"], record), record, LITERT, feeds)
    assert "concat" in [value.source.rpartition("/")[2] for value in done.values]
    assert "would keep less than 4" not in caplog.text


def between_float_layers(tail):
    """A skipped layer with arithmetic behind it, and a quantised one at the end."""

    def network(net):
        return net.conv(tail(net.conv(net.x, "front")), "body", 4)

    return network


TAILS = {
    "square": lambda y: tf.square(y) * 2.0,
    "mean": lambda y: y - tf.reduce_mean(y, 3, keepdims=True),
    "concat": lambda y: tf.concat([y, tf.nn.relu(y)], 3),
    "resize": lambda y: v1.image.resize_bilinear(y, [9, 9]),
    "sigmoid": lambda y: y * tf.sigmoid(y),
    "add": lambda y: tf.nn.relu(y + 1.0) + y,
}


@pytest.mark.parametrize("rules", [LITERT, MNN, ONNX])
@pytest.mark.parametrize("tail", TAILS)
def test_what_stands_behind_a_float_layer_stays_float(tail, rules):
    """Nothing is rounded before the first quantised layer's input."""
    model, feeds = build(between_float_layers(TAILS[tail]))
    record = quantize_post_training(model, ["y"], feeds, skip_layers=["front"])
    simulated = simulate(model, ["y"], record)
    done = simulate_target(simulated, record, rules, feeds)
    assert [value.source for value in done.values] == [simulated.layers[0].result]


@pytest.mark.parametrize("target", TARGETS)
def test_a_grid_that_cuts_values_off_is_found_where_it_is(target, tmp_path):
    """A result on a grid 20 times too small is a finding at its layer, not at the next one."""
    model, feeds = build(residual)
    record = quantize_post_training(model, ["y"], feeds)
    exporter = load_registry().exporter(target)
    completed = exporter.export(model, ["y"], record, tmp_path / "a", calibration=feeds).source
    assert verify(exporter.open(tmp_path / "a", completed), feeds, layers=True).ok()
    grids = dict(completed.record.value_grids)
    (name,) = (name for name in grids if name.startswith("c3"))
    grids[name] = attrs.evolve(grids[name], scale=grids[name].scale / 20)
    wrong = Record(record.factors, value_grids=grids)
    found = verify(exporter.export(model, ["y"], wrong, tmp_path / "b"), feeds, layers=True)
    divergence = found.first_divergence()
    assert divergence is not None
    assert divergence.layer == "c3"
    assert divergence.cut_off > 0.5
    assert "cuts off" in found.problems()[0]


@pytest.mark.parametrize("target", TARGETS)
def test_a_record_of_another_targets_values_too_rounds_no_more(target, tmp_path):
    """Values that a target computes with floats may be in the record: they are another's."""
    model, feeds = build(joined)
    record = quantize_post_training(model, ["y"], feeds)
    registry = load_registry()
    done = {
        name: registry.exporter(name).export(
            model, ["y"], record, tmp_path / name, calibration=feeds
        )
        for name in TARGETS
    }
    grids = {}
    for artifact in done.values():
        grids |= artifact.source.record.value_grids
    union = Record(record.factors, value_grids=grids)
    again = registry.exporter(target).export(model, ["y"], union, tmp_path / "again")
    assert again.source.record == done[target].source.record
    assert again.paths[0].read_bytes() == done[target].paths[0].read_bytes()
