"""The quantised model: one value that every form and every station reads."""

from __future__ import annotations

import gc

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.exporter import ExportSource
from graphquant_core.layer import Layer
from graphquant_core.record import LayerFactors, Record
from graphquant_core.registry import load_registry
from graphquant_core.value_grid import ValueGrid
from graphquant_export.integer_reference import integer_reference
from graphquant_export.quantized import model as quantized
from graphquant_export.quantized.model import quantized_model
from graphquant_export.quantized.simulate import simulate
from graphquant_export.report import write_report
from graphquant_export.targets.ascend import quantize_graph
from graphquant_export.verification import verify

v1 = tf.compat.v1


@pytest.fixture
def builds(monkeypatch):
    """The models that were built, in their order."""
    gc.collect()
    found = []
    build = quantized._build

    def counted(*arguments):
        found.append(arguments)
        return build(*arguments)

    monkeypatch.setattr(quantized, "_in_use", type(quantized._in_use)())
    monkeypatch.setattr(quantized, "_build", counted)
    return found


def test_four_targets_their_proofs_and_a_report_build_one_model(trained, image, builds, tmp_path):
    """export, verify, open and report of ascend, litert, mnn and onnx: one build."""
    frozen, record = trained
    feeds = {"image": image}
    registry = load_registry()
    proofs = []
    for name in ("ascend", "onnx", "litert", "mnn"):
        exporter = registry.exporter(name)
        artifact = exporter.export(frozen, ["logits"], record, tmp_path / name)
        verify(artifact, feeds)
        copied = tf.compat.v1.GraphDef.FromString(frozen.SerializeToString())
        source = ExportSource(copied, ("logits",), record)
        proofs.append(verify(exporter.open(tmp_path / name, source), feeds))
    write_report(tmp_path / "report.html", proofs, artifact.source, feeds)
    assert len(builds) == 1


def test_a_model_is_told_by_its_content(trained, builds):
    """Another weight, factor or output makes another model; the grids of values don't."""
    frozen, record = trained
    first = quantized_model(frozen, ["logits"], record)
    name = next(iter(record))
    grids = attrs.evolve(record, value_grids={"logits:0": ValueGrid(0.1, 0)})
    assert quantized_model(frozen, ["logits:0"], grids) is first
    assert len(builds) == 1
    moved = {**record, name: attrs.evolve(record[name], scale_d=record[name].scale_d * 2)}
    others = [
        quantized_model(frozen, ["logits"], Record(moved)),
        quantized_model(frozen, ["logits", "pool/AvgPool"], record),
    ]
    changed = v1.GraphDef.FromString(frozen.SerializeToString())
    next(node for node in changed.node if node.op == "Const").attr["note"].s = b"another"
    others.append(quantized_model(changed, ["logits"], record))
    assert len({id(model) for model in [first, *others]}) == len(builds) == 4


def test_a_model_that_nobody_has_is_let_go(trained, builds):
    """Nothing holds a model but who uses it."""
    frozen, record = trained
    simulate(frozen, ["logits"], record)
    assert not quantized._in_use
    simulate(frozen, ["logits"], record)
    assert len(builds) == 2


def test_a_simulation_is_the_callers_own(trained):
    """What somebody does to one graph, the next caller doesn't see."""
    frozen, record = trained
    first = simulate(frozen, ["logits"], record)
    before = first.graph_def.SerializeToString(deterministic=True)
    first.graph_def.node[0].name = "changed"
    second = simulate(frozen, ["logits"], record)
    assert second.model is first.model
    assert second.graph_def.SerializeToString(deterministic=True) == before


class MiddleChannels:
    """y[n, h, c, w] = sum_k x[n, h, k, w] weight[k, c]: channels on axis 2 of 4."""

    name = "middle"
    op_types = frozenset({"Einsum"})

    def describe(self, op):
        """The second operand is the weight."""
        return Layer(
            op.name,
            op.type,
            activation_port=0,
            weight_port=1,
            weight_shape=tuple(op.inputs[1].shape.as_list()),
            weight_channel_axes=(1,),
            output_channel_axis=2,
        )


@pytest.fixture
def middle(monkeypatch):
    """The frozen graph of such a layer with a bias behind it, its record, and an input."""
    known = load_registry()
    handlers = {**known.handlers, "Einsum": MiddleChannels()}
    registry = attrs.evolve(known, handlers=handlers)
    monkeypatch.setattr("graphquant_core.graph.planner.load_registry", lambda: registry)
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.3, (3, 5)).astype(np.float32)
    bias = rng.normal(0, 1, (5, 1)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2, 4, 3, 6], name="x")
        y = tf.raw_ops.Einsum(inputs=[x, weight], equation="nhkw,kc->nhcw", name="layer")
        tf.identity(y + bias, name="y")
    scale_w = np.abs(weight).max(0) / 127
    record = Record({"layer": LayerFactors(0.03, -7, scale_w)})
    x = rng.normal(0, 1, (2, 4, 3, 6)).astype(np.float32)
    codes = np.clip(np.rint(x * (np.float32(1) / np.float32(0.03))) - 7, -128, 127) + 7
    step = (np.float32(0.03) * scale_w).astype(np.float64)[:, None]
    sums = np.rint(weight / scale_w).astype(np.int64).T @ codes.astype(np.int64)
    return graph.as_graph_def(), record, x, (sums + np.rint(bias / step)) * step


def test_channels_on_a_middle_axis_are_no_matter_of_ascend(middle, run):
    """sum of codes times scale along axis 2 of 4, in floats and in exact integers."""
    model, record, x, truth = middle
    simulated = simulate(model, ["y"], record)
    (layer,) = simulated.layers
    assert layer.bias is not None
    (exact,) = integer_reference(simulated.exact.graph_def, ["y"], {"x": x})
    np.testing.assert_array_equal(exact, truth.astype(np.float32))
    (found,) = run(simulated.graph_def, ["y"], {"x:0": x})
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-5)


def test_ascend_alone_refuses_channels_on_a_middle_axis(middle):
    """Its ops have them on axis 1 or on the last one."""
    model, record, _, _ = middle
    with pytest.raises(UnsupportedLayerError, match="axis 2 of 4; Ascend's ops"):
        quantize_graph(model, ["y"], record)


@pytest.mark.parametrize("target", ["onnx", "litert"])
def test_other_targets_take_channels_on_a_middle_axis(middle, target, tmp_path):
    """The file computes what the exact integers are, up to float32 sums."""
    model, record, x, truth = middle
    exporter = load_registry().exporter(target)
    artifact = exporter.export(model, ["y"], record, tmp_path / "m")
    found = exporter.runtime(artifact).run({"x": x}, ["y"])["y"]
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-5)


def test_relu6_is_opened_for_ascend_alone():
    """Other targets keep the function that was trained."""
    with tf.Graph().as_default() as graph:
        y = tf.nn.relu6(v1.placeholder(tf.float32, [None, 3], name="x"), name="six")
        tf.matmul(y, np.ones((3, 2), np.float32), name="layer")
    model, record = graph.as_graph_def(), Record({"layer": LayerFactors(6 / 255, -128, [0.01])})
    deployed, _ = quantize_graph(model, ["layer"], record)
    simulated = simulate(model, ["layer"], record)
    types = [
        {node.name: node.op for node in graph_def.node}["six"]
        for graph_def in (deployed, simulated.graph_def, simulated.exact.graph_def)
    ]
    assert types == ["Relu", "Relu6", "Relu6"]
