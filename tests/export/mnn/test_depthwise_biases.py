"""MNN's depthwise kernel adds integers: the file's floats make them those of the simulation.

Where nothing was made for that kernel, floats compute what Ascend does.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import LayerFactors, Record
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.mnn.entry import runtime
from graphquant_export.targets.mnn.int8 import export_mnn_int8, open_mnn_int8
from graphquant_export.targets.mnn.int8.depthwise_biases import stored_bias
from graphquant_export.verification import verify

pytest.importorskip("MNN", reason='needs pip install "graphquant-export[mnn]"')
v1 = tf.compat.v1
CHANNELS, SIZE, IMAGES = 20, 13, 8


@pytest.mark.parametrize("zero", [-128, -20, 0, 37, 127])
def test_what_is_cut_off_leaves_the_integers_that_are_meant(zero):
    """trunc(bias / step) + trunc(zero / factor) = codes + round(zero / factor), in float32."""
    random = np.random.default_rng(zero + 128)
    codes = random.integers(-30000, 30000, 2000).astype(np.int32)
    step = random.uniform(1e-6, 1e-3, 2000).astype(np.float32)
    factor = step / np.float32(0.0235)
    bias = stored_bias(codes, step, factor, zero)
    added = np.trunc(bias / step) + np.trunc(np.float32(zero) / factor)
    np.testing.assert_array_equal(added, codes + np.rint(zero / factor.astype(np.float64)))


class Case:
    """One depthwise convolution, its record, and the codes of exact integers.

    As of Ascend, its result is rounded by a layer that takes it, with weights that change nothing,
    and the record has no grids of values.
    """

    def __init__(self, zero, stride, padding, bias, relu6, groups=False, ascend=False):
        random = np.random.default_rng(zero + 128)
        self.weight = random.normal(0, 0.4, (3, 3, CHANNELS, 1)).astype(np.float32)
        self.codes = random.integers(-128, 128, (IMAGES, SIZE, SIZE, CHANNELS)) + 43.0
        self.x = (self.codes * 3 / 255).astype(np.float32)
        self.options = [1, stride, stride, 1], padding
        self.result = ValueGrid(6 / 255 if relu6 else 0.05, zero)
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [None, SIZE, SIZE, CHANNELS], name="x")
            if groups:
                weight = self.weight.reshape(3, 3, 1, CHANNELS)
                y = tf.nn.conv2d(x, weight, stride, padding, name="dw")
            else:
                y = v1.nn.depthwise_conv2d_native(x, self.weight, *self.options, name="dw")
            if bias:
                y = tf.nn.bias_add(y, random.normal(0, 1, CHANNELS).astype(np.float32))
            y = tf.nn.relu6(y, name="act") if relu6 else y
            if ascend:
                y = tf.nn.conv2d(y, np.eye(CHANNELS, dtype="f4")[None, None], 1, "SAME", name="one")
            tf.identity(y, name="y")
        self.graph_def = graph.as_graph_def()
        self.lowest = zero if relu6 else -128
        scale_w = (np.abs(self.weight).max(axis=(0, 1, 3)) / 127).astype(np.float32)
        grids = {"act:0" if relu6 else "dw:0": self.result}
        layers = {"dw": LayerFactors(3 / 255, -43, scale_w)}
        if ascend:
            one = LayerFactors(self.result.scale, zero, np.full(CHANNELS, 1 / 127, np.float32))
            layers, grids = {**layers, "one": one}, {}
        self.record = Record(layers, value_grids=grids)
        self.ascend = ascend

    def exact(self):
        """round(m * (sum + bias + round(zero / m))), m = step of the sum / scale of the result.

        As of Ascend it is round(m * (sum + bias)) + zero.
        """
        layer = simulate(self.graph_def, ["y"], self.record).layers[0]
        with tf.Graph().as_default(), v1.Session() as session:
            weight = tf.constant(layer.weight_codes.astype(np.float64).reshape(self.weight.shape))
            sums = session.run(v1.nn.depthwise_conv2d_native(self.codes, weight, *self.options))
        if layer.bias_codes is not None:
            sums += layer.bias_codes
        factor = layer.scale.astype(np.float64) / self.result.scale
        zero = self.result.zero_point
        if self.ascend:
            return np.clip(np.rint(sums * factor) + zero, self.lowest, 127) - zero
        return np.clip(np.rint((sums + np.rint(zero / factor)) * factor), self.lowest, 127) - zero


KINDS = pytest.mark.parametrize(
    ("zero", "stride", "padding", "bias", "relu6"),
    [
        (-128, 1, "SAME", True, True),
        (-128, 2, "SAME", True, True),
        (-20, 1, "VALID", True, False),
        (0, 1, "SAME", True, False),
        (37, 2, "SAME", False, False),
        (-111, 1, "SAME", False, False),
    ],
)


@pytest.mark.parametrize("groups", [False, True])
@KINDS
def test_every_code_is_that_of_a_rounded_zero_point(
    tmp_path, zero, stride, padding, bias, relu6, groups
):
    """With and without a bias or an activation function, or as a Conv2D with a group a channel."""
    case = Case(zero, stride, padding, bias, relu6, groups)
    artifact = export_mnn_int8(case.graph_def, ["y"], case.record, tmp_path / "m")
    found = runtime(artifact).run({"x": case.x}, ["y"])["y"]
    off = np.abs(np.rint(found / np.float32(case.result.scale)) - case.exact())
    assert off.max() <= 1
    assert np.mean(off) <= 1e-4
    checked = verify(artifact, {"x": case.x}, layers=True)
    (layer,) = checked.layers
    assert layer.found.mean <= 1e-4
    again = open_mnn_int8(tmp_path / "m", artifact.source)
    assert [row.result for row in again.planned] == [row.result for row in artifact.planned]


@KINDS
def test_without_grids_of_values_every_code_is_that_of_ascend(
    tmp_path, zero, stride, padding, bias, relu6
):
    """With floats, but where the zero point is 0: for one of 2,000 integers give another code."""
    case = Case(zero, stride, padding, bias, relu6, groups=stride == 2, ascend=True)
    artifact = export_mnn_int8(case.graph_def, ["y"], case.record, tmp_path / "m")
    execution = "int8" if zero == 0 else "int8 weights"
    assert [row.execution for row in artifact.planned] == [execution, "int8 weights"]
    assert ("zero point" in (artifact.reason("dw") or "")) == (zero != 0)
    found = runtime(artifact).run({"x": case.x}, ["y"])["y"] / np.float32(case.result.scale)
    assert np.abs(found - np.rint(found)).max() <= 1e-3
    assert np.mean(np.rint(found) != case.exact()) <= 1e-4
    again = open_mnn_int8(tmp_path / "m", artifact.source)
    assert [row.execution for row in again.planned] == [execution, "int8 weights"]
    assert again.reason("dw") == artifact.reason("dw")
