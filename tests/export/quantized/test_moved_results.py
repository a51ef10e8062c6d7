"""Results of layers that are moved before a layer takes them: one answer in every target."""

from __future__ import annotations

import functools
import importlib.util

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core import load_registry
from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params
from graphquant_core.record import Record
from graphquant_export.post_training import quantize_post_training
from graphquant_export.verification import verify

v1 = tf.compat.v1
WHEELS = {"onnx": "onnxruntime", "litert": "ai_edge_litert", "mnn": "MNN"}
TARGETS = [
    pytest.param(
        target,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(wheel) is None, reason=f"needs the wheel {wheel}"
        ),
    )
    for target, wheel in WHEELS.items()
]
SIZE, CHANNELS = 6, 4
PADDING = [[0, 0], [1, 1], [1, 1], [0, 0]]


def moves():
    """What stands between the results of layers and the next layer, and has no rounding."""
    relu = tf.nn.relu
    return {
        "concat": lambda y, other: tf.concat([y, relu(other())], 3),
        "concat_pad": lambda y, other: tf.pad(tf.concat([relu(y), relu(other())], 3), PADDING),
        "max_pool": lambda y, _: tf.nn.max_pool2d(relu(y), 2, 2, "SAME"),
        "pad": lambda y, _: tf.pad(y, PADDING),
        "relu": lambda y, _: relu(y),
        "split": lambda y, _: tf.split(y, 2, 3)[1],
        "transpose": lambda y, _: tf.transpose(y, [0, 2, 1, 3]),
        "reshape": lambda y, _: tf.reshape(y, [-1, SIZE // 2, 2 * SIZE, CHANNELS]),
    }


class Net:
    """Behind one layer a branch for each move: a convolution, the move, another convolution."""

    def __init__(self):
        self.random = np.random.default_rng(4)
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [None, SIZE, SIZE, 3], name="x")
            stem = tf.nn.relu(self.conv(x, "stem"))
            for name, move in moves().items():
                other = functools.partial(self.conv, stem, f"{name}/other")
                y = move(self.conv(stem, f"{name}/first"), other)
                tf.identity(self.conv(y, f"{name}/second"), name=f"{name}/y")
        self.model = graph.as_graph_def()
        self.outputs = [f"{name}/y" for name in moves()]
        samples = self.random.normal(size=(4, SIZE, SIZE, 3))
        self.feeds = {"x": samples.astype(np.float32)}

    def conv(self, x, name):
        weight = self.random.normal(0, 0.3, (3, 3, x.shape[-1], CHANNELS)).astype(np.float32)
        return tf.nn.conv2d(x, weight, 1, "SAME", name=name)


@pytest.fixture(scope="module")
def net():
    """The network and its record, which has no grid but those of layers' inputs."""
    built = Net()
    built.record = quantize_post_training(built.model, built.outputs, built.feeds)
    assert not built.record.value_grids
    return built


@pytest.mark.parametrize("target", TARGETS)
def test_a_result_that_is_moved_is_on_the_grid_of_what_takes_it(net, target, tmp_path):
    """From the record alone every first layer computes with integers, whatever moves it."""
    exporter = load_registry().exporter(target)
    # ONNX Runtime has such kernels for unsigned activations, on x86.
    options = {"activations": "uint8"} if target == "onnx" else {}
    artifact = exporter.export(net.model, net.outputs, net.record, tmp_path / "m", **options)
    rows = exporter.runtime(artifact).executions()
    computed = {row.layer: (row.execution, row.reason) for row in rows}
    assert {name: computed[f"{name}/first"] for name in moves()} == dict.fromkeys(
        moves(), ("int8", None)
    )
    found = verify(artifact, net.feeds, layers=True)
    assert found.ok(), found.problems()


@pytest.mark.parametrize("target", TARGETS)
def test_a_range_that_is_too_small_is_found_at_the_layer_before(net, target, tmp_path):
    """Second layers take a twentieth of what they should: each first one is named as cut off."""
    factors = {
        name: attrs.evolve(row, scale_d=row.scale_d / 20) if name.endswith("/second") else row
        for name, row in net.record.items()
    }
    exporter = load_registry().exporter(target)
    artifact = exporter.export(net.model, net.outputs, Record(factors), tmp_path / "m")
    found = verify(artifact, net.feeds, layers=True)
    assert not found.ok()
    cut_off = {row.layer: row.cut_off for row in found.layers}
    assert min(cut_off[f"{name}/first"] for name in moves()) > 0.3
    assert found.first_divergence().layer == f"{next(iter(moves()))}/first"
    told = [problem for problem in found.problems() if "cuts off" in problem]
    assert len(told) >= len(moves())


@pytest.mark.parametrize("target", TARGETS)
def test_an_observed_range_has_one_grid_in_every_target(target, tmp_path):
    """That of `affine_params`: of symmetric and one-sided ranges, and of nothing but zeros."""
    weights = {"symmetric": [0.5, -0.5], "one_sided": [0.5, 0.25], "dead": [0.0, 0.0]}
    x = np.linspace(0, 1, 96).reshape(2, 4, 4, 3).astype(np.float32)
    ranges = {}
    with tf.Graph().as_default() as graph:
        given = v1.placeholder(tf.float32, [None, 4, 4, 3], name="x")
        for name, ends in weights.items():
            weight = np.zeros((1, 1, 3, 2), np.float32)
            weight[0, 0, 2] = ends
            tf.identity(tf.nn.conv2d(given, weight, 1, "SAME", name=name), name=f"{name}/y")
            ranges[name] = min(0.0, *ends), max(0.0, *ends)
    outputs = [f"{name}/y" for name in weights]
    record = quantize_post_training(
        graph.as_graph_def(), outputs, {"x": x}, activation="min_max", equalize=False
    )
    exporter = load_registry().exporter(target)
    artifact = exporter.export(
        graph.as_graph_def(), outputs, record, tmp_path / "m", calibration={"x": x}
    )
    found = exporter.runtime(artifact).layer_outputs({"x": x})
    for name, (low, high) in ranges.items():
        params = affine_params(np.float32(low), np.float32(high), INT8)
        grid = artifact.source.record.value_grids[f"{name}:0"]
        assert grid.zero_point == params.offset, name
        np.testing.assert_allclose(grid.scale, params.scale, rtol=1e-2)
        if found[name].step is not None:
            assert np.float32(found[name].step) == np.float32(grid.scale)
            np.testing.assert_allclose(found[name].ends, grid.ends, rtol=1e-6)
