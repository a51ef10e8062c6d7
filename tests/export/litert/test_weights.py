"""Weight-only models in LiteRT: integer weights, float sums."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import RangeError, RecordError, UnsupportedLayerError
from graphquant_core.graph import GraphView
from graphquant_core.layer import Layer
from graphquant_core.weight_record import WeightGrid, WeightRecord
from graphquant_export.targets.litert import LiteRtRuntime, export_litert
from graphquant_export.targets.mnn import mnn_grouping, mnn_quantize
from graphquant_export.targets.mnn.layers import plan_for_mnn

litert = pytest.importorskip(
    "ai_edge_litert.interpreter", reason='needs pip install "graphquant-export[litert]"'
)
v1 = tf.compat.v1

SHAPES = {
    "conv": (3, 3, 32, 6),
    "depthwise": (3, 3, 6, 1),
    "deconv": (2, 2, 7, 6),
    "dense": (7, 9),
    "transposed": (5, 9),
}
STORED = {
    "conv": lambda w: w.transpose(3, 0, 1, 2),
    "depthwise": lambda w: w.transpose(3, 0, 1, 2),
    # MNN's groups, one a row: runs of the weight in the order in, out, kh, kw.
    "deconv": lambda w: w.transpose(3, 2, 0, 1).reshape(7, -1),
    "dense": lambda w: w.T,
    "transposed": lambda w: w,
}


def network(weights):
    """Every op type with a weight, batch norm with gammas of both signs behind the first two."""
    rng = np.random.default_rng(1)

    def norm(y):
        gamma = np.array([1.5, -0.4, 0.7, -1.2, 0.3, 1.0], np.float32)
        beta, mean = rng.normal(size=(2, 6)).astype(np.float32)
        variance = rng.uniform(0.5, 2, 6).astype(np.float32)
        return v1.nn.fused_batch_norm(y, gamma, beta, mean, variance, is_training=False)[0]

    with tf.Graph().as_default() as graph:
        y = v1.placeholder(tf.float32, [None, 8, 8, 32], name="x")
        y = tf.nn.relu(norm(tf.nn.conv2d(y, weights["conv"], 2, "SAME", name="conv")))
        y = v1.nn.depthwise_conv2d_native(
            y, weights["depthwise"], [1, 1, 1, 1], "SAME", name="depthwise"
        )
        y = tf.nn.relu(norm(y))
        sizes = [tf.shape(y)[0], 8, 8, 7]
        y = tf.nn.relu(tf.nn.conv2d_transpose(y, weights["deconv"], sizes, 2, name="deconv"))
        y = tf.matmul(tf.reduce_mean(y, [1, 2]), weights["dense"], name="dense")
        y = tf.matmul(tf.nn.relu(y), weights["transposed"], transpose_b=True, name="transposed")
        tf.nn.softmax(y, name="prob")
    return graph


def on_grid(bits, asymmetric=False, block_size=0):
    """(graph with its weights on the grids of `bits` bits, its WeightRecord, codes by layer)."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in SHAPES.items()}
    graph = network(weights)
    view, grids, codes = GraphView(graph), {}, {}
    for layer in plan_for_mnn(graph, view=view).layers:
        grouping = mnn_grouping(layer, block_size)
        quantized = mnn_quantize(grouping.rows(weights[layer.name]), bits, asymmetric)
        weights[layer.name] = grouping.weight(quantized.values())
        codes[layer.name] = grouping.weight(quantized.codes.astype(np.float32))
        grids[layer.name] = WeightGrid(bits, asymmetric, block_size)
    return network(weights), WeightRecord(grids), codes


@pytest.mark.parametrize(
    ("bits", "asymmetric", "block_size"),
    [(8, False, 0), (5, True, 0), (4, False, 0), (4, True, 16), (3, False, 16), (2, True, 0)],
)
def test_the_file_computes_what_the_frozen_graph_does(bits, asymmetric, block_size, tmp_path):
    """int4 with 4 bits or less, else int8; every value as float32 rounding allows."""
    graph, params, _ = on_grid(bits, asymmetric, block_size)
    artifact = export_litert(graph.as_graph_def(), ["prob"], params, tmp_path / "m")
    runtime = LiteRtRuntime(artifact)
    expected = "int4 weights" if bits <= 4 else "int8 weights"
    assert {row.layer: row.execution for row in runtime.executions()} == dict.fromkeys(
        SHAPES, expected
    )
    x = np.random.default_rng(4).normal(size=(5, 8, 8, 32)).astype(np.float32)
    with v1.Session(graph=graph) as session:
        (prob,) = session.run(["prob:0"], {"x:0": x})
        np.testing.assert_allclose(runtime.run({"x": x}, ["prob"])["prob"], prob, atol=1e-5)
        outputs = runtime.layer_outputs({"x": x})
        assert list(outputs) == list(SHAPES)
        for output in outputs.values():
            value = session.run(f"{output.tensor}:0", {"x:0": x})
            np.testing.assert_allclose(output.value, value, atol=2e-5 * np.ptp(value))
    assert runtime.output_step("prob") is None


def test_the_codes_are_those_of_the_frozen_weights(tmp_path):
    """Per output channel; a channel with a negative gamma has the opposite signs."""
    graph, params, codes = on_grid(8)
    artifact = export_litert(graph.as_graph_def(), ["prob"], params, tmp_path / "m")
    interpreter = litert.Interpreter(model_path=str(artifact.model_path))
    interpreter.allocate_tensors()
    for detail in interpreter.get_tensor_details():
        layer, _, ending = detail["name"].partition(":")
        if ending != "weight":
            continue
        found = interpreter.get_tensor(detail["index"]).astype(np.float32)
        assert found.max() == 127 or found.min() == -127
        if layer in ("conv", "depthwise"):
            axis = detail["quantization_parameters"]["quantized_dimension"]
            signs = np.sign([1.5, -0.4, 0.7, -1.2, 0.3, 1.0])
            found = found * signs.reshape([-1 if i == axis else 1 for i in range(4)])
        np.testing.assert_array_equal(found, STORED[layer](codes.pop(layer)))
    assert not codes


def test_a_batch_norm_across_groups_is_named(tmp_path, caplog):
    """MNN cuts a transposed convolution across channels; a factor per channel breaks its grid."""
    weight = np.random.default_rng(0).normal(size=(2, 2, 4, 6)).astype(np.float32)
    ones = np.ones(4, np.float32)
    gamma = np.array([1, 2, 0.3, -1], np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [1, 4, 4, 6], name="x")
        grouping = mnn_grouping(Layer("normed", "Conv2DBackpropInput", 2, 1, weight.shape, (2,)))
        on_its_grid = grouping.weight(mnn_quantize(grouping.rows(weight), 8, False).values())
        y = tf.nn.conv2d_transpose(x, on_its_grid, [1, 8, 8, 4], 2, name="normed")
        y = v1.nn.fused_batch_norm(y, gamma, ones, ones, ones, is_training=False)[0]
        tf.identity(y, name="y")
    params = WeightRecord({"normed": WeightGrid(8)})
    artifact = export_litert(graph.as_graph_def(), ["y"], params, tmp_path / "m")
    (warning,) = [record for record in caplog.records if "litert" in record.name]
    assert '"normed" (Conv2DBackpropInput)' in warning.getMessage()
    rows = {row.layer: row.execution for row in LiteRtRuntime(artifact).executions()}
    assert rows["normed"] == "float"


def test_what_litert_cannot_hold_is_refused(tmp_path):
    """Weights off their grid, unknown layers, and records of something else."""
    graph, params, _ = on_grid(4)
    model, path = graph.as_graph_def(), tmp_path / "m"
    other = WeightRecord(
        {name: attrs.evolve(grid, asymmetric=True) for name, grid in params.items()}
    )
    with pytest.raises(RangeError, match='layer "conv"'):
        export_litert(model, ["prob"], WeightRecord(other), path)
    finer = WeightRecord({name: attrs.evolve(grid, bits=3) for name, grid in params.items()})
    with pytest.raises(RangeError, match=r'layer "conv": .* 3 bits'):
        export_litert(model, ["prob"], finer, path)
    with pytest.raises(UnsupportedLayerError, match=r'"cnov".*did you mean "conv"'):
        export_litert(model, ["prob"], WeightRecord({"cnov": WeightGrid(4)}), path)
    for record in (WeightRecord({}), ["conv"], 8):
        with pytest.raises(RecordError, match="WeightQuantizer"):
            export_litert(model, ["prob"], record, path)
    assert list(tmp_path.iterdir()) == []
