"""Whether an exporter's rules are true, shown to its author."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.registry import load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_export.post_training import quantize_post_training
from graphquant_export.testing import check_exporter


@pytest.fixture(scope="module")
def model():
    """(frozen graph, record, samples) of a residual network."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], "x")

        def conv(y, name):
            shape = [3, 3, int(y.shape[-1]), 8]
            weight = random.normal(0, 0.2, shape).astype(np.float32)
            return tf.nn.conv2d(y, weight, 1, "SAME", name=name)

        y = tf.nn.relu(conv(x, "c1"))
        y = tf.nn.relu(y + conv(tf.nn.relu(conv(y, "c2")), "c3"))
        tf.identity(conv(y, "c4"), name="y")
    frozen = graph.as_graph_def()
    feeds = {"x": random.normal(size=(16, 8, 8, 3)).astype(np.float32)}
    return frozen, quantize_post_training(frozen, ["y"], feeds), feeds


@pytest.mark.parametrize("target", ["ascend", "onnx", "litert", "mnn"])
def test_the_built_in_targets_are_what_they_say(model, target, tmp_path):
    """Complete records, the same bytes, exact layers and outputs, opened again as exported."""
    frozen, record, feeds = model
    found = check_exporter(load_registry().exporter(target), frozen, ["y"], record, feeds, tmp_path)
    assert {row.execution for row in found.executions} == {"int8"}


def test_rules_that_are_not_true_are_found(model, tmp_path, monkeypatch):
    """A target that rounds results, and says that it returns floats, differs from exact sums."""
    frozen, record, feeds = model
    exporter = load_registry().exporter("onnx")
    completed = exporter.export(
        frozen, ["y"], record, tmp_path / "c", calibration=feeds
    ).source.record
    monkeypatch.setattr(type(exporter), "rules", TargetRules(), raising=False)
    with pytest.raises(AssertionError, match="rounds something that its rules don't say"):
        check_exporter(exporter, frozen, ["y"], completed, feeds, tmp_path)


def test_an_export_that_forgets_what_it_observed_is_found(model, tmp_path, monkeypatch):
    """From the record that it says it was made of, it writes another file."""
    frozen, record, feeds = model
    exporter = load_registry().exporter("onnx")
    export = type(exporter).export

    def forgetful(self, *arguments, **options):
        artifact = export(self, *arguments, **options)
        return attrs.evolve(artifact, source=attrs.evolve(artifact.source, record=record))

    monkeypatch.setattr(type(exporter), "export", forgetful)
    with pytest.raises(AssertionError, match="must write the same"):
        check_exporter(exporter, frozen, ["y"], record, feeds, tmp_path)
