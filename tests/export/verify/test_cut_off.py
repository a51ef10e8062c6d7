"""The share of values beyond a grid is counted on what is taken of a layer's result."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params
from graphquant_core.record import Record
from graphquant_core.registry import load_registry
from graphquant_core.value_grid import ValueGrid
from graphquant_export.post_training import quantize_post_training
from graphquant_export.verification import verify
from graphquant_export.verification.cut_off import CutOff

v1 = tf.compat.v1


def pooled(y):
    return tf.nn.max_pool2d(y, 4, 4, "SAME")


CHOOSING = {
    "pooled": pooled,
    "padded and pooled": lambda y: pooled(tf.pad(y, [[0, 0], [2, 2], [2, 2], [0, 0]])),
    "pooled, then rectified": lambda y: tf.nn.relu(pooled(y)),
    "pooled twice": lambda y: tf.concat([pooled(y), tf.nn.max_pool2d(y, 8, 4, "SAME")], -1),
    "a slice": lambda y: y[:, 4:, :, 6:],
    "a part": lambda y: tf.split(tf.split(y, [4, 4], 3)[1], 2, 3)[1],
    "gathered": lambda y: tf.gather(tf.gather(y, [5, 7, 6], axis=3), [1, 2], axis=3),
}


def network(choose):
    random = np.random.default_rng(0)
    first = random.normal(0, 0.3, (3, 3, 4, 8)).astype(np.float32)
    # Far larger where no slice looks: a grid of what is taken cuts off most of it.
    first[..., :6] *= 30
    with tf.Graph().as_default() as graph:
        y = tf.nn.conv2d(
            v1.placeholder(tf.float32, [None, 16, 16, 4], "x"), first, 1, "SAME", name="first"
        )
        y = choose(y)
        second = random.normal(0, 0.1, (3, 3, int(y.shape[-1]), 4)).astype(np.float32)
        tf.nn.conv2d(y, second, 1, "SAME", name="second")
    x = random.normal(size=(24, 16, 16, 4)).astype(np.float32)
    return graph.as_graph_def(), x


@pytest.mark.parametrize(
    ("name", "target"),
    [*((name, "onnx") for name in CHOOSING), ("pooled", "litert"), ("pooled", "mnn")],
)
def test_what_nothing_takes_may_be_cut_off(name, target, tmp_path):
    """But a grid that is too narrow for what is taken is named."""
    pytest.importorskip({"onnx": "onnxruntime", "litert": "ai_edge_litert", "mnn": "MNN"}[target])
    graph_def, x = network(CHOOSING[name])
    exporter = load_registry().exporter(target)
    record = quantize_post_training(graph_def, ["second"], {"x": x[:16]}, target=target)
    own = record.value_grids.get("first:0")
    narrow = {} if own is None else {"first:0": attrs.evolve(own, scale=own.scale / 240)}
    scale_d = record["second"].scale_d / 240
    factors = {**record, "second": attrs.evolve(record["second"], scale_d=scale_d)}
    broken = Record(factors, value_grids={**record.value_grids, **narrow})
    told = []
    for given in (record, broken):
        artifact = exporter.export(graph_def, ["second"], given, tmp_path / "m")
        found = verify(artifact, {"x": x[16:]}, layers=True)
        told.append([problem for problem in found.problems() if "cuts off" in problem])
    assert told[0] == []
    assert '"first"' in told[1][0]


def test_a_value_at_the_end_of_its_range_is_not_cut_off():
    """However its zero point and the rounding of what is before it fall; a step further it is."""
    random = np.random.default_rng(0)
    for low, high in random.uniform(0.1, 3, (200, 2)) * [-1, 1]:
        params = affine_params(low, high, INT8)
        scale = float(params.scale)
        counted = [CutOff(ValueGrid(scale, int(params.offset))) for _ in range(2)]
        for each, beyond in zip(counted, (0.49 * scale, 1.51 * scale), strict=True):
            each.add(np.array([low - beyond, high + beyond]))
        assert [each.share() for each in counted] == [0.0, 1.0]
