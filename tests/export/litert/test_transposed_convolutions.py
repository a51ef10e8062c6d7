"""Transposed convolutions in LiteRT: every code is the exact one, whatever shapes are known."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import LayerFactors, Record
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.litert import LiteRtRuntime, export_litert
from graphquant_export.targets.litert.file import LiteRtFile

pytest.importorskip("ai_edge_litert", reason='needs pip install "graphquant-export[litert]"')
v1 = tf.compat.v1

SIZE, DEPTH, CHANNELS, IMAGES = 7, 9, 5, 16
GRID = ValueGrid(0.011, 17)


class Case:
    """A transposed convolution, and the codes that exact integers give."""

    def __init__(self, kernel, strides, padding="SAME", *, cut=0, bias=True, batch=None, size=SIZE):
        rng = np.random.default_rng(kernel * 100 + sum(strides))
        self.weight = rng.normal(0, 0.3, (kernel, kernel, CHANNELS, DEPTH)).astype(np.float32)
        self.x = rng.uniform(-1, 2, (IMAGES, SIZE, SIZE, DEPTH)).astype(np.float32)
        self.strides, self.padding = strides, padding
        more = 0 if padding == "SAME" else max(kernel - max(strides), 0)
        self.sizes = [SIZE * stride + more - cut for stride in strides]
        if padding == "VALID":
            self.sizes = [(SIZE - 1) * stride + kernel + cut for stride in strides]
        self.bias = rng.normal(0, 0.5, CHANNELS).astype(np.float32) if bias else None
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [batch, size, size, DEPTH], name="x")
            count = tf.shape(x)[0] if batch is None else batch
            sizes = self.sizes
            if size is None:
                grown = [tf.shape(x)[i + 1] * stride for i, stride in enumerate(strides)]
                sizes = [grow + more - cut for grow in grown]
            y = self.transposed(x, self.weight, [count, *sizes, CHANNELS])
            tf.identity(y if self.bias is None else tf.nn.bias_add(y, self.bias), name="y")
        self.graph_def = graph.as_graph_def()
        scale_w = np.abs(self.weight).max(axis=(0, 1, 3)) / 127
        factors = LayerFactors(3 / 255, -43, scale_w.astype(np.float32))
        self.record = Record({"up": factors}, value_grids={"up:0": GRID})

    def transposed(self, x, weight, shape):
        strides = [1, *self.strides, 1]
        return tf.nn.conv2d_transpose(x, weight, shape, strides, self.padding, name="up")

    def exact(self):
        """Codes of the result before they are rounded, in float64."""
        (layer,) = simulate(self.graph_def, ["y"], self.record).layers
        scale = np.float32(layer.scale_d)
        codes = np.rint(self.x / scale)
        codes = np.clip(codes, -128 - layer.offset_d, 127 - layer.offset_d).astype(np.float64)
        with tf.Graph().as_default(), v1.Session() as session:
            weight = tf.constant(layer.weight_codes.astype(np.float64))
            shape = [IMAGES, *self.sizes, CHANNELS]
            sums = session.run(self.transposed(tf.constant(codes), weight, shape))
        if layer.bias_codes is not None:
            sums += layer.bias_codes
        factor = layer.weight_scale.astype(np.float64) * np.float64(scale) / GRID.scale
        return np.clip(sums * factor + GRID.zero_point, -128, 127)

    def run(self, path, **options):
        """(the file, codes that LiteRT returns)."""
        artifact = export_litert(self.graph_def, ["y"], self.record, path, **options)
        runtime = LiteRtRuntime(artifact)
        values = runtime.run({"x": self.x}, ["y"])["y"]
        returned = runtime.layer_outputs({"x": self.x})["up"].value
        np.testing.assert_array_equal(returned, values)
        return LiteRtFile(artifact.model_path.read_bytes()), values / np.float32(GRID.scale)


def assert_exact(found, exact):
    """Every code is the nearest integer; where two are as near, either."""
    off = np.abs(np.rint(found) + GRID.zero_point - exact)
    assert off.max() <= 0.5 + 1e-4


def kinds(file):
    """The operators of a file."""
    return [operator.kind for operator in file.operators]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 3), (2, 1), (2, 3)])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_with_any_batch_every_code_is_the_exact_one(kernel, strides, padding, tmp_path):
    """For every kernel, stride and padding, as one convolution whose sums are rounded once."""
    case = Case(kernel, strides, padding)
    file, found = case.run(tmp_path / "m")
    assert_exact(found, case.exact())
    assert "CONV_2D" in kinds(file)
    assert "TRANSPOSE_CONV" not in kinds(file)
    assert "SHAPE" not in kinds(file)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 3), (2, 3)])
def test_a_result_that_is_one_smaller_or_larger_is_cut_where_tensorflow_cuts(
    kernel, stride, padding, tmp_path
):
    """Several sizes of the result belong to one size of what is taken."""
    case = Case(kernel, (stride, stride), padding, cut=1)
    _, found = case.run(tmp_path / "m")
    assert_exact(found, case.exact())


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1), (5, 3)])
def test_with_a_static_shape_the_operator_stays_and_is_exact(kernel, stride, tmp_path):
    """XNNPACK computes it, and rounds once."""
    case = Case(kernel, (stride, stride), batch=IMAGES)
    file, found = case.run(tmp_path / "m")
    assert_exact(found, case.exact())
    assert "TRANSPOSE_CONV" in kinds(file)


def test_integer_inputs_and_outputs_are_the_same_codes(tmp_path):
    """With integer_io nothing of the file is float."""
    case = Case(3, (2, 2))
    file, found = case.run(tmp_path / "m", integer_io=True)
    assert_exact(found, case.exact())
    assert kinds(file) == ["PAD", "CONV_2D", "DEPTH_TO_SPACE"]
    assert {file.dtype(op.outputs[0]) for op in file.operators} == {"int8"}


def test_without_bias_the_bias_is_zero(tmp_path):
    """Nothing is added to any of the channels."""
    case = Case(3, (2, 2), bias=False)
    _, found = case.run(tmp_path / "m")
    assert_exact(found, case.exact())


def test_without_a_grid_of_its_result_it_stays_a_transposed_convolution(tmp_path):
    """In floats, nothing is rounded."""
    case = Case(3, (2, 2))
    model, record = case.graph_def, Record(dict(case.record))
    artifact = export_litert(model, ["y"], record, tmp_path / "m")
    assert "TRANSPOSE_CONV" in kinds(LiteRtFile(artifact.model_path.read_bytes()))


def test_where_the_image_has_no_static_size_it_computes_with_floats(tmp_path, caplog):
    """A warning says so; what is returned is rounded once all the same."""
    case = Case(3, (2, 2), size=None)
    with caplog.at_level(logging.WARNING):
        artifact = export_litert(case.graph_def, ["y"], case.record, tmp_path / "m")
    assert "not static" in caplog.text
    (row,) = LiteRtRuntime(artifact).executions()
    assert row.execution == "int8 weights"
