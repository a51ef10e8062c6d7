"""Transposed convolutions in MNN: int8, with the codes of exact integers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import LayerFactors, Record
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.mnn.entry import runtime
from graphquant_export.targets.mnn.int8 import export_mnn_int8, open_mnn_int8
from graphquant_export.verification import verify

pytest.importorskip("MNN", reason='needs pip install "graphquant-export[mnn]"')
v1 = tf.compat.v1
SIZE, DEPTH, CHANNELS, IMAGES = 6, 8, 5, 8
GRID = ValueGrid(0.02, -19)


class Case:
    """A transposed convolution, and the codes that exact integers give."""

    def __init__(self, kernel, strides, padding="SAME", *, bias=True, act=None, size=SIZE):
        random = np.random.default_rng(kernel + 10 * sum(strides))
        self.weight = random.normal(0, 0.3, (kernel, kernel, CHANNELS, DEPTH)).astype("f4")
        self.codes = random.integers(-128, 128, (IMAGES, SIZE, SIZE, DEPTH)) + 43.0
        self.x = (self.codes * 3 / 255).astype(np.float32)
        self.strides, self.padding = [1, *strides, 1], padding
        self.sizes = [SIZE * s if padding == "SAME" else (SIZE - 1) * s + kernel for s in strides]
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [None, size, size, DEPTH], name="x")
            sizes = self.sizes if size else [tf.shape(x)[1] * 2, tf.shape(x)[2] * 2]
            y = self.transposed(x, self.weight, [tf.shape(x)[0], *sizes, CHANNELS])
            if bias:
                y = tf.nn.bias_add(y, random.normal(0, 0.5, CHANNELS).astype("f4"))
            tf.identity(act(y, name="act") if act else y, name="y")
        self.graph_def = graph.as_graph_def()
        self.lowest = -128 if act is None else GRID.zero_point
        scale_w = (np.abs(self.weight).max(axis=(0, 1, 3)) / 127).astype(np.float32)
        factors = LayerFactors(3 / 255, -43, scale_w)
        self.record = Record({"up": factors}, value_grids={"act:0" if act else "up:0": GRID})

    def transposed(self, x, weight, shape):
        return tf.nn.conv2d_transpose(x, weight, shape, self.strides, self.padding, name="up")

    def exact(self):
        """Codes of the result, before they are rounded."""
        (layer,) = simulate(self.graph_def, ["y"], self.record).layers
        with tf.Graph().as_default(), v1.Session() as session:
            weight = tf.constant(layer.weight_codes.astype(np.float64))
            shape = [IMAGES, *self.sizes, CHANNELS]
            sums = session.run(self.transposed(tf.constant(self.codes), weight, shape))
        if layer.bias_codes is not None:
            sums += layer.bias_codes
        factor = layer.scale.astype(np.float64) / GRID.scale
        return np.clip(sums * factor + GRID.zero_point, self.lowest, 127)


@pytest.mark.parametrize(
    ("kernel", "strides", "options"),
    [
        (3, (2, 2), {}),
        (3, (2, 2), {"bias": False}),
        (3, (2, 2), {"act": tf.nn.relu}),
        (2, (2, 2), {"padding": "VALID", "act": tf.nn.relu6}),
        (3, (1, 1), {}),
        (1, (1, 1), {}),
        (4, (2, 2), {"padding": "VALID"}),
        (5, (3, 3), {}),
        (3, (2, 1), {}),
        (1, (2, 2), {}),
    ],
)
def test_every_code_is_the_exact_one(kernel, strides, options, tmp_path):
    """For any kernel, stride, padding, bias and activation; found again by its name, and opened."""
    case = Case(kernel, strides, **options)
    artifact = export_mnn_int8(case.graph_def, ["y"], case.record, tmp_path / "m")
    assert [layer.off_by for layer in artifact.layers] == [0]
    runner = runtime(artifact)
    assert [row.execution for row in runner.executions()] == ["int8"]
    found = runner.run({"x": case.x}, ["y"])["y"]
    off = np.abs(np.rint(found / np.float32(GRID.scale)) + GRID.zero_point - case.exact())
    assert off.max() <= 0.5 + 1e-3
    (layer,) = verify(artifact, {"x": case.x}, layers=True).layers
    assert layer.found.largest == 0
    again = open_mnn_int8(tmp_path / "m", artifact.source)
    assert again.layers == artifact.layers
    assert [row.finished for row in again.planned] == [row.finished for row in artifact.planned]


def test_where_the_image_has_no_static_size_only_the_weight_is_quantised(tmp_path):
    """The reason says so."""
    case = Case(3, (2, 2), size=None)
    artifact = export_mnn_int8(case.graph_def, ["y"], case.record, tmp_path / "m")
    (row,) = runtime(artifact).executions()
    assert row.execution == "int8 weights"
    assert "not static" in row.reason
