"""Layers that are the same, of which TensorFlow's converter would make one operator."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import Record
from graphquant_core.weight_record import WeightGrid, WeightRecord
from graphquant_export.integer_reference import integer_reference
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.litert import LiteRtRuntime, export_litert
from graphquant_export.targets.litert.target import simulate_litert
from graphquant_export.targets.mnn import mnn_grouping, mnn_quantize
from graphquant_export.targets.mnn.layers import plan_for_mnn

pytest.importorskip("ai_edge_litert", reason='needs pip install "graphquant-export[litert]"')
v1 = tf.compat.v1

RANDOM = np.random.default_rng(5)
NAMES = ("a", "b")


def weight(*shape):
    """Drawn once: whoever is given it shares it."""
    return RANDOM.normal(0, 1.5 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)


CONV, DENSE, DEPTHWISE = weight(3, 3, 6, 6), weight(96, 5), weight(3, 3, 6, 1)
BIASES = dict(zip("abc", weight(3, 6), strict=True))


def conv(y, name):
    return tf.nn.relu(tf.nn.conv2d(y, CONV, 1, "SAME", name=name))


def dense(y, name):
    return tf.matmul(tf.reshape(y, [-1, 96]), DENSE, name=name)


def depthwise(y, name):
    return v1.nn.depthwise_conv2d_native(y, DEPTHWISE, [1, 1, 1, 1], "SAME", name=name)


def deconv(y, name):
    sizes = [tf.shape(y)[0], 4, 4, 6]
    return tf.nn.relu6(tf.nn.conv2d_transpose(y, CONV, sizes, 1, name=name))


def pool(y, name):
    return tf.nn.avg_pool2d(y, 2, 2, "VALID", name=name)


def dilated(y, name):
    y = tf.space_to_batch(y, [2, 2], [[2, 2], [2, 2]])
    y = tf.nn.conv2d(y, CONV, 1, "VALID", name=name)
    return tf.batch_to_space(y, [2, 2], [[0, 0], [0, 0]])


def with_other_bias(y, name):
    return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(y, CONV, 1, "SAME", name=name), BIASES[name]))


def behind_a_twin(y, name):
    return tf.nn.relu(tf.nn.conv2d(conv(y, f"{name}0"), CONV, 2, "VALID", name=name))


def behind_the_same(y, name):
    # Each has a Relu of its own before it, which the converter merges first.
    return conv(tf.nn.relu(tf.abs(y)), name)


def channels_first(y, name):
    y = tf.transpose(y, [0, 3, 1, 2])
    return tf.nn.conv2d(y, CONV, 1, "SAME", "NCHW", name=name)


KINDS = (
    *(conv, dense, depthwise, deconv, pool, dilated),
    *(with_other_bias, behind_a_twin, behind_the_same, channels_first),
)


def built(kind, names=NAMES):
    """(frozen graph with a layer of `kind` called as each of `names`, its outputs, feeds)."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4, 4, 3], name="x")
        y = tf.nn.relu(tf.nn.conv2d(x, weight(3, 3, 3, 6), 1, "SAME", name="first"))
        outputs = [tf.identity(kind(y, name), name=f"{name}_out").op.name for name in names]
    x = RANDOM.normal(size=(16, 4, 4, 3)).astype(np.float32)
    return graph.as_graph_def(), outputs, {"x": x}


def check(model, outputs, record, feeds, path):
    """Every layer is an int8 operator of its own with the exact codes, but for ties."""
    artifact = export_litert(model, outputs, record, path, calibration=feeds)
    runtime = LiteRtRuntime(artifact)
    rows = runtime.executions()
    assert {row.layer: row.execution for row in rows} == dict.fromkeys(record, "int8")
    assert len({row.runtime_name for row in rows}) == len(record)
    simulated = simulate(model, outputs, record)
    reference = simulate_litert(simulated, record, feeds).reference
    exact = integer_reference(reference, outputs, feeds)
    found = runtime.run(feeds, outputs)
    for name, value in zip(outputs, exact, strict=True):
        step = runtime.output_step(name)
        codes = np.rint(found[name] / step)
        wanted = np.clip(np.rint(value / step), codes.min(), codes.max())
        assert np.abs(codes - wanted).mean() <= 0.02, name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_twin_has_an_operator_of_its_own(kind, tmp_path):
    """Of the same input, with the same weight and the same grids."""
    model, outputs, feeds = built(kind)
    record = quantize_post_training(model, outputs, feeds, activation="min_max")
    assert {"first", *NAMES} <= set(record)
    check(model, outputs, record, feeds, tmp_path / "m")


def test_three_of_a_kind_are_three(tmp_path):
    """As many operators as layers."""
    model, outputs, feeds = built(conv, ("a", "b", "c"))
    record = quantize_post_training(model, outputs, feeds, activation="min_max")
    check(model, outputs, record, feeds, tmp_path / "m")


@pytest.mark.parametrize("field", ["scale_d", "scale_w"])
def test_twins_on_different_grids_keep_their_own(field, tmp_path):
    """The same floats, and other integers."""
    model, outputs, feeds = built(conv)
    record = quantize_post_training(model, outputs, feeds, activation="min_max")
    other = attrs.evolve(record["b"], **{field: getattr(record["b"], field) * np.float32(1.5)})
    check(model, outputs, Record({**record, "b": other}), feeds, tmp_path / "m")


@pytest.mark.parametrize("kind", [conv, dense, depthwise, deconv, behind_a_twin])
@pytest.mark.parametrize("bits", [8, 4])
def test_twins_whose_weights_alone_are_quantised_are_two(kind, bits, tmp_path):
    """Each has integers of its own, and the file computes what the graph does."""
    model, outputs, feeds = built(kind)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(model, name="")
    layers = {layer.name: layer for layer in plan_for_mnn(graph).layers}
    (constant,) = {
        graph.get_operation_by_name(name).inputs[layers[name].weight_port].op.name
        for name in NAMES[:1]
    }
    grouping = mnn_grouping(layers["a"])
    node = next(node for node in model.node if node.name == constant)
    rows = mnn_quantize(grouping.rows(tf.make_ndarray(node.attr["value"].tensor)), bits, False)
    on_grid = tf.make_tensor_proto(grouping.weight(rows.values()))
    for twin in model.node:
        if twin.attr["value"].tensor == node.attr["value"].tensor and twin is not node:
            twin.attr["value"].tensor.CopyFrom(on_grid)
    node.attr["value"].tensor.CopyFrom(on_grid)
    record = WeightRecord({name: WeightGrid(bits) for name in layers if name != "first"})
    runtime = LiteRtRuntime(export_litert(model, outputs, record, tmp_path / "m"))
    wanted = {name: f"int{bits} weights" for name in layers if name != "first"}
    found = {row.layer: row.execution for row in runtime.executions()}
    assert {name: found[name] for name in wanted} == wanted
    with v1.Session(graph=tf.Graph()) as session:
        tf.import_graph_def(model, name="")
        exact = session.run([f"{name}:0" for name in outputs], {"x:0": feeds["x"]})
    for name, value in zip(outputs, exact, strict=True):
        got = runtime.run(feeds, outputs)[name]
        np.testing.assert_allclose(got, value, atol=1e-5)
