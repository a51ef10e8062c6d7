"""Every rule of `graphquant_export.rewriting`: the graph computes what it did, without the op."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_export.rewriting import rewrite
from graphquant_export.rewriting.einsum import EINSUM
from graphquant_export.rewriting.erfc import ERFC
from graphquant_export.rewriting.fake_quant import FAKE_QUANT
from graphquant_export.rewriting.no_nan import DIV_NO_NAN, MUL_NO_NAN, XDIVY
from graphquant_export.rewriting.product_of_matrices import PRODUCT_OF_MATRICES
from graphquant_export.rewriting.static_size import PART_OF_SHAPE, SHAPE

v1 = tf.compat.v1
RULES = (EINSUM, ERFC, FAKE_QUANT, DIV_NO_NAN, MUL_NO_NAN, XDIVY)
RANDOM = np.random.default_rng(2)


def both(build, *shapes, dynamic=(), values=None):
    """(the value of "out" as TensorFlow computes it, that of the rewritten graph).

    Axes in `dynamic` have no static size in the graph.
    """
    drawn = values or [RANDOM.normal(0, 2, shape).astype(np.float32) for shape in shapes]
    with tf.Graph().as_default() as graph:
        known = [
            [None if axis in dynamic else size for axis, size in enumerate(value.shape)]
            for value in drawn
        ]
        xs = [v1.placeholder(tf.float32, shape, name=f"x{i}") for i, shape in enumerate(known)]
        tf.identity(build(*xs), name="out")
    model = graph.as_graph_def()
    rewritten = rewrite(model, ["out"], RULES)
    types = {op_type for rule in RULES for op_type in rule.op_types}
    assert {node.op for node in model.node} & types
    assert not {node.op for node in rewritten.node} & types
    replaced = {node.name for node in model.node if node.op in types}
    assert replaced <= {node.name for node in rewritten.node}
    found = []
    for graph_def in (model, rewritten):
        with tf.Graph().as_default(), v1.Session() as session:
            tf.import_graph_def(graph_def, name="")
            feeds = {f"x{index}:0": value for index, value in enumerate(drawn)}
            found.append(session.run("out:0", feeds))
    return found


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize(
    ("low", "high"), [(-3.0, 3.0), (0.0, 6.0), (-1.7, 0.0), (0.5, 3.0), (-4.0, -1.0), (-0.01, 5.0)]
)
def test_a_fake_quantiser_has_the_same_grid(low, high, bits, narrow):
    """Every code, and ranges that TensorFlow moves until zero is on them."""

    def build(x):
        return tf.quantization.fake_quant_with_min_max_vars(x, low, high, bits, narrow)

    expected, found = both(build, (50, 40))
    step = (high - low) / (2**bits - 1)
    # A value between two codes may fall either way.
    off = np.abs(found - expected)
    assert (off > 1e-5).mean() <= 1e-3
    assert off.max() < 1.1 * step


def test_a_fake_quantiser_of_constants_and_one_of_channels():
    """Its other forms; a range of no width gives zeros."""

    def by_arguments(x):
        return tf.quantization.fake_quant_with_min_max_args(x, -1.0, 2.0)

    def by_channel(x):
        low, high = np.float32([-1.0, -0.5, 0.0, 0.0]), np.float32([1.0, 2.0, 3.0, 0.0])
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(x, low, high)

    for build, shape in ((by_arguments, (20, 7)), (by_channel, (5, 6, 4))):
        expected, found = both(build, shape)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_fake_quantiser_of_data_stays():
    """Its grid isn't known."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [3], name="x")
        fake = tf.quantization.fake_quant_with_min_max_vars(x, tf.reduce_min(x), tf.reduce_max(x))
        tf.identity(fake, name="out")
    rewritten = rewrite(graph.as_graph_def(), ["out"], RULES)
    assert [node for node in rewritten.node if node.op.startswith("FakeQuant")]


@pytest.mark.parametrize("name", ["DivNoNan", "Xdivy", "MulNoNan"])
def test_a_division_by_zero_is_what_tensorflow_says(name):
    """0 where it says 0, also with an operand that is broadcast."""

    def build(x, y):
        return getattr(tf.raw_ops, name)(x=x, y=y)

    x = RANDOM.normal(size=(6, 5)).astype(np.float32)
    y = RANDOM.normal(size=(1, 5)).astype(np.float32)
    x[2], y[0, 1] = 0, 0
    expected, found = both(build, values=[x, y])
    assert not np.isnan(expected).any()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_division_by_a_constant_is_one():
    """It has no zero to be looked for."""
    expected, found = both(lambda x: tf.math.divide_no_nan(x, [2.0, -3.0, 0.5]), (4, 3))
    np.testing.assert_array_equal(found, expected)
    expected, found = both(lambda x: tf.math.divide_no_nan(x, [2.0, 0.0, 0.5]), (4, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_erfc_is_what_tensorflow_computes():
    """As near as float32 is beside 1."""
    x = np.linspace(-5, 5, 201, dtype=np.float32)
    expected, found = both(tf.math.erfc, values=[x])
    np.testing.assert_allclose(found, expected, atol=3e-7)


@pytest.mark.parametrize("dynamic", [(), (0,), (0, 1), (0, 1, 2, 3)])
@pytest.mark.parametrize(
    ("equation", "left", "right"),
    [
        ("ab,bc->ac", (3, 4), (4, 5)),
        ("abc,cde->abde", (2, 3, 4), (4, 5, 6)),
        ("aecd,abcd->acbe", (2, 3, 4, 5), (2, 6, 4, 5)),
        ("acbe,aecd->abcd", (2, 4, 6, 3), (2, 3, 4, 5)),
        ("abcd,cde->abe", (2, 3, 4, 5), (4, 5, 6)),
        ("bij,bjk->kbi", (2, 3, 4), (2, 4, 5)),
        ("i,j->ij", (3,), (4,)),
        ("bi,bi->b", (3, 4), (3, 4)),
        ("bhw,bhw->bhw", (2, 3, 4), (2, 3, 4)),
    ],
)
def test_an_einsum_is_a_product_of_matrices(equation, left, right, dynamic):
    """With any axes shared, kept and summed, in any order, of static sizes or not."""

    def build(x, y):
        return tf.raw_ops.Einsum(inputs=[x, y], equation=equation)

    expected, found = both(build, left, right, dynamic=dynamic)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ab->ba", [(2, 3)]), ("...ij,jk->...ik", [(2, 3, 4), (4, 5)]), ("ij,k->k", [(2, 3), (4,)])],
)
def test_another_einsum_stays(equation, shapes):
    """With one operand, an ellipsis, or a letter that is summed in one operand alone."""
    with tf.Graph().as_default() as graph:
        xs = [v1.placeholder(tf.float32, shape) for shape in shapes]
        tf.identity(tf.raw_ops.Einsum(inputs=xs, equation=equation), name="out")
    rewritten = rewrite(graph.as_graph_def(), ["out"], RULES)
    assert [node for node in rewritten.node if node.op == "Einsum"]


@pytest.mark.parametrize("adjoint", [(False, False), (True, False), (False, True), (True, True)])
def test_a_product_of_matrices_is_one_of_a_batch(adjoint):
    """Transposed or not; of a batch it stays as it is."""
    left, right = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(4, 2))
    x, y = (value.astype(np.float32) for value in (left, right))
    with tf.Graph().as_default() as graph:
        x0 = v1.placeholder(tf.float32, x.T.shape if adjoint[0] else [None, 4], name="x")
        y0 = tf.constant(y.T if adjoint[1] else y)
        flags = {"adj_x": adjoint[0], "adj_y": adjoint[1]}
        tf.raw_ops.BatchMatMulV2(x=x0, y=y0, name="out", **flags)
        tf.raw_ops.BatchMatMulV2(x=x0[tf.newaxis], y=y0, name="batch", **flags)
    rewritten = rewrite(graph.as_graph_def(), ["out", "batch"], (PRODUCT_OF_MATRICES,))
    assert {n.name: n.op for n in rewritten.node}["batch"] == "BatchMatMulV2"
    with tf.Graph().as_default() as found, v1.Session() as session:
        tf.import_graph_def(rewritten, name="")
        products = [op for op in found.get_operations() if op.type == "BatchMatMulV2"]
        assert {op.inputs[0].shape.rank for op in products} == {3}
        out, batch = session.run(["out:0", "batch:0"], {"x:0": x.T if adjoint[0] else x})
    np.testing.assert_allclose(out, left @ right, atol=1e-5)
    np.testing.assert_allclose(batch, (left @ right)[np.newaxis], atol=1e-5)


def test_sizes_that_are_static_are_constants():
    """One of a shape, several, counted from its end; an open one stays."""
    parts = (lambda s: s[1], lambda s: s[1:3], lambda s: s[-1:], lambda s: s[::-2], lambda s: s[0])
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 5, 6, 7], name="x")
        for index, part in enumerate(parts):
            tf.identity(part(tf.shape(x)), name=f"part{index}")
        tf.identity(tf.shape(x[0]), name="whole")
    outputs = [*(f"part{index}" for index in range(len(parts))), "whole"]
    rewritten = rewrite(graph.as_graph_def(), outputs, (SHAPE, PART_OF_SHAPE))
    given = {node.name: node.input[0] for node in rewritten.node if node.name in outputs}
    types = {node.name: node.op for node in rewritten.node}
    assert [types[given[name]] for name in outputs] == [
        "Const", "Const", "Const", "Const", "StridedSlice", "Const",
    ]  # fmt: skip
    x = np.zeros((2, 5, 6, 7), np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(rewritten, name="")
        found = session.run([f"{name}:0" for name in outputs], {"x:0": x})
    for value, expected in zip(found, (5, [5, 6], [7], [7, 5], 2, [5, 6, 7]), strict=True):
        np.testing.assert_array_equal(value, expected)
