"""Whether the weight of a dense layer has one scale, or one for each unit."""

from __future__ import annotations

import logging
from pathlib import Path

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.layer import Layer
from graphquant_core.record import Record
from graphquant_core.registry import load_registry
from graphquant_export.post_training import quantize_post_training
from graphquant_export.post_training.weight_scales import weight_scales
from graphquant_export.quantized.find_layers import find_layers
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.ascend import export_ascend
from graphquant_export.verification import verify
from graphquant_qat.config.rules import channel_wise_allowed

v1 = tf.compat.v1

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 24)).astype(np.float32)
LARGE = 50
HIDDEN = RANDOM.normal(size=(24, 40)).astype(np.float32)
CLASSES = RANDOM.normal(size=(40, 6)).astype(np.float32) * np.array([1, 1, LARGE, 1, 1, 1], "f4")
BIAS = RANDOM.normal(size=6).astype(np.float32)


def _model() -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 24], "x")
        y = tf.nn.relu(tf.matmul(x, HIDDEN, name="hidden"))
        y = tf.matmul(y, CLASSES, name="classes")
        tf.nn.bias_add(y, BIAS, name="logits")
    return graph.as_graph_def()


MODEL = _model()


def _record(target: str | list[str]) -> Record:
    return quantize_post_training(MODEL, ["logits"], {"x": X}, target=target, equalize=False)


@pytest.mark.parametrize("target", ["litert", "onnx", "mnn"])
def test_each_unit_has_its_scale_and_the_runtime_takes_them(target: str, tmp_path: Path) -> None:
    """scale_w is max|w| / 127 of each unit, and the runtime returns the codes that they make."""
    record = _record(target)
    expected = np.abs(CLASSES.astype(np.float64)).max(axis=0) / 127
    np.testing.assert_allclose(record["classes"].scale_w, expected, rtol=1e-6)
    exporter = load_registry().exporter(target)
    found = verify(exporter.export(MODEL, ["logits"], record, tmp_path / "model"), {"x": X})
    assert [row.execution for row in found.executions] == ["int8", "int8"]
    assert found.outputs[0].reference is not None
    assert found.outputs[0].reference.largest == 0


def test_a_unit_that_is_larger_than_the_others_costs_them_nothing() -> None:
    """Each unit of the logits, summed by TensorFlow, is within 30 dB of those in float64."""
    simulated = simulate(MODEL, ["logits"], _record("onnx"))
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(simulated.graph_def, name="")
        found = session.run("logits:0", {"x:0": X})
    wanted = np.maximum(X.astype(np.float64) @ HIDDEN, 0) @ CLASSES + BIAS
    noise = np.square(found - wanted).mean(axis=0) / np.square(wanted).mean(axis=0)
    assert noise.max() < 1e-3


def test_ascend_has_one_scale_as_amct_has() -> None:
    """A record for Ascend, alone or among other targets, has one scale for a MatMul."""
    for target in ("ascend", ["litert", "ascend"]):
        assert _record(target)["classes"].scale_w == pytest.approx(
            [np.abs(CLASSES).max() / 127], rel=1e-6
        )


def test_a_record_for_another_target_is_told_on_ascend(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Exported for Ascend, a record with a scale for each unit is exact and named in a warning."""
    with caplog.at_level(logging.WARNING):
        export_ascend(MODEL, ["logits"], _record("onnx"), tmp_path / "model")
    assert '"classes"' in caplog.text
    assert "its weight has 6 scales, where AMCT gives a MatMul one" in caplog.text


def test_a_handler_says_whether_a_weight_has_one_scale() -> None:
    """`Layer.one_weight_scale` decides, whatever the type: after training and without it."""
    graph = import_frozen(MODEL)
    layer = plan_graph(graph).layer("classes")
    assert isinstance(layer, Layer)
    assert layer.one_weight_scale
    for one in (True, False):
        told = attrs.evolve(layer, op_type="Another", one_weight_scale=one)
        (place,) = find_layers(GraphView(graph), [told], ["logits"])
        assert place.weight is not None
        values = {place.weight.name: CLASSES}
        values |= {step.value.name: np.zeros(6, np.float32) for step in place.tail}
        assert len(weight_scales(place, values, 0.1)) == (1 if one else 6)
        assert channel_wise_allowed(told) is not one
