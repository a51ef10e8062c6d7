"""Groups of weights that are too small for a scale of their own."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import RangeError
from graphquant_core.registry import load_registry
from graphquant_export.targets.mnn import LayerParams, mnn_quantize

WHEELS = {"onnx": "tf2onnx", "litert": "ai_edge_litert", "mnn": "MNN"}


@pytest.fixture(params=WHEELS)
def exporter(request):
    if find_spec(WHEELS[request.param]) is None:
        pytest.skip(f"{request.param} is not installed")
    return load_registry().exporter(request.param)


def convolution(tiny):
    """A frozen Conv2D with 8-bit weights on their grid; the last channel's are `tiny`."""
    weight = np.random.default_rng(0).normal(0, 0.3, (3, 3, 16, 8)).astype(np.float32)
    rows = mnn_quantize(weight.transpose(3, 2, 0, 1).reshape(8, -1), 8, asymmetric=False).values()
    weight = rows.reshape(8, 16, 3, 3).transpose(2, 3, 1, 0).copy()
    weight[..., -1] = tiny
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 6, 6, 16], "x")
        tf.nn.relu(tf.nn.conv2d(x, weight, 1, "SAME", name="conv"), name="y")
    return graph.as_graph_def(), [LayerParams("conv", 8, False, 0)]


def test_a_group_with_one_code_holds_no_other_value(exporter, tmp_path):
    """Weights of 5e-5, whose scale is below 1e-6, would be stored as zeros: an error says so."""
    model, params = convolution(5e-5)
    with pytest.raises(RangeError, match="conv"):
        exporter.export(model, ["y"], params, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_group_of_zeros_is_on_every_grid(exporter, tmp_path):
    """A pruned channel is exported as it is."""
    model, params = convolution(0)
    artifact = exporter.export(model, ["y"], params, tmp_path / "m")
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 16)).astype(np.float32)
    value = exporter.runtime(artifact).run({"x": x}, ["y"])["y"]
    assert value[..., :-1].any()
    assert not value[..., -1].any()
