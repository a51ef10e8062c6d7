"""Sessions hold a copy of the graph each: whatever opens one closes it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import graphquant_export as gq
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.report import write_report

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)


@pytest.fixture
def sessions(monkeypatch):
    """(sessions that were opened, those of them that were closed)."""
    opened, closed = [], []

    class Counted(v1.Session):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            # Held here, none is closed by being collected.
            opened.append(self)

        def close(self):
            closed.append(self)
            super().close()

        def __exit__(self, *raised):
            super().__exit__(*raised)
            closed.append(self)

    monkeypatch.setattr(v1, "Session", Counted)
    return opened, closed


def model():
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 3], name="x")
        w = RANDOM.normal(size=(3, 3, 3, 4)).astype(np.float32)
        y = tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME", name="conv"))
        d = RANDOM.normal(size=(144, 5)).astype(np.float32)
        tf.matmul(tf.reshape(y, [-1, 144]), d, name="dense")
    return LoadedModel(graph.as_graph_def(), ("x",), ("dense",))


@pytest.mark.parametrize("target", ["ascend", "onnx", "litert", "mnn"])
def test_a_journey_closes_what_it_opens(tmp_path, sessions, target):
    """From the samples to the report: every session."""
    opened, closed = sessions
    loaded, samples = model(), {"x": RANDOM.normal(size=(8, 6, 6, 3)).astype(np.float32)}
    record = gq.quantize(loaded, samples, target)
    artifact = gq.export(loaded, record, target, tmp_path / "m", samples=samples)
    found = gq.verify(artifact, samples, layers=True, float_model=loaded.graph_def)
    write_report(tmp_path / "r.html", found, artifact.source, samples)
    assert len(opened) > 4
    assert set(opened) == set(closed)
    assert found.ok()


def test_what_fails_closes_what_it_opened(tmp_path, sessions):
    """A run that TensorFlow refuses leaves no session."""
    opened, closed = sessions
    loaded, samples = model(), {"x": RANDOM.normal(size=(8, 6, 6, 3)).astype(np.float32)}
    record = gq.quantize(loaded, samples, "ascend")
    artifact = gq.export(loaded, record, "ascend", tmp_path / "m", samples=samples)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gq.verify(artifact, samples, layers=True, progress=stop)
    assert set(opened) == set(closed)
