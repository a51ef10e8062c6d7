"""GPTQ, and the moments that it takes: against TensorFlow's kernels and float64."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.graph import GraphView
from graphquant_export.inputs.batches import make_batches
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_wq.calibrate_weights import _row_step
from graphquant_wq.gptq import COMPENSATION_DAMPING, RoundingTask, compensated, errors, gptq
from graphquant_wq.graph.moments import InputMoments, ResultMoments
from graphquant_wq.graph.patches import patches, rows_of, weight_of
from graphquant_wq.graph.sample_runs import SampleRuns

v1 = tf.compat.v1


def _task(random: np.random.Generator, blocks: int, rows: int, size: int, bits: int) -> Any:
    weights = random.normal(size=(blocks, rows, size))
    low, high = weights.min(axis=2, keepdims=True), weights.max(axis=2, keepdims=True)
    step = (high - low) / (2**bits - 1)
    pinned = np.where((weights == low) | (weights == high), weights, np.nan)
    shape = weights.shape
    return RoundingTask(
        weights, np.broadcast_to(low, shape), np.broadcast_to(step, shape), 2**bits - 1, pinned
    )


@given(
    seed=st.integers(0, 2**16),
    blocks=st.integers(1, 3),
    rows=st.integers(1, 4),
    size=st.integers(2, 150),
    samples=st.integers(1, 200),
    bits=st.integers(2, 8),
)
def test_no_row_is_worse_than_rounded_to_the_nearest(
    seed: int, blocks: int, rows: int, size: int, samples: int, bits: int
) -> None:
    """In the variance that its error adds; values lie on the grid, pinned ones are as told."""
    random = np.random.default_rng(seed)
    task = _task(random, blocks, rows, size, bits)
    inputs = random.normal(size=(blocks, samples, size)) @ random.normal(size=(blocks, size, size))
    covariance = np.einsum("bnk,bnl->bkl", inputs, inputs) / samples
    found = gptq(task, covariance)
    nearest = errors(task.nearest() - task.weights, covariance)
    assert np.all(errors(found - task.weights, covariance) <= nearest)
    codes = (found - task.low) / np.where(task.step > 0, task.step, 1)
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-6)
    assert codes.min() > -1e-6
    assert codes.max() < task.levels + 1e-6
    told = ~np.isnan(task.pinned)
    np.testing.assert_array_equal(found[told], task.pinned[told])


def test_correlated_inputs_lose_much_less() -> None:
    """Two in five of the error's variance at most, where inputs go together as in a picture."""
    random = np.random.default_rng(0)
    task = _task(random, 1, 32, 64, 3)
    inputs = random.normal(size=(2000, 64)).cumsum(axis=1)
    covariance = (np.cov(inputs.T))[None]
    found = errors(gptq(task, covariance) - task.weights, covariance).sum()
    assert found < 0.4 * errors(task.nearest() - task.weights, covariance).sum()


def test_independent_inputs_are_rounded_to_the_nearest() -> None:
    """There is nothing to make up for."""
    task = _task(np.random.default_rng(0), 2, 3, 9, 3)
    np.testing.assert_array_equal(gptq(task, np.tile(np.eye(9), (2, 1, 1))), task.nearest())


def _layer(kind: str, x: Any, weight: Any, stride: int, dilation: int, padding: str) -> Any:
    if kind == "depthwise":
        strides = [1, stride, stride, 1]
        return v1.nn.depthwise_conv2d_native(
            x, weight, strides, padding, dilations=[1, dilation, dilation, 1], name="layer"
        )
    if kind == "up":
        channels = weight.shape[2]
        sizes = [
            9 * stride if padding == "SAME" else 8 * stride + max(kernel, stride)
            for kernel in weight.shape[:2]
        ]
        shape = tf.stack([tf.shape(x)[0], *sizes, channels])
        return tf.nn.conv2d_transpose(x, weight, shape, stride, padding, name="layer")
    return v1.nn.conv2d(
        x, weight, [1, stride, stride, 1], padding, dilations=[1, dilation, dilation, 1],
        name="layer",
    )  # fmt: skip


SHAPES = {
    "conv": (3, 2, 4, 6),
    "grouped": (3, 2, 2, 6),
    "depthwise": (3, 2, 4, 1),
    "up": (3, 2, 5, 4),
}


# TensorFlow has no kernel on the CPU for a dilation of the others.
STEPS = [
    *((kind, stride, 1) for kind in SHAPES for stride in (1, 2)),
    *((kind, 1, 2) for kind in SHAPES if kind not in ("up", "depthwise")),
]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kind", "stride", "dilation"), STEPS)
def test_patches_times_weights_are_what_the_layer_returns(
    kind: str, stride: int, dilation: int, padding: str
) -> None:
    """TensorFlow's own kernel is the truth, whatever the strides, the dilation and the padding."""
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 9, 9, 4)).astype(np.float32)
    weight = random.normal(size=SHAPES[kind]).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 9, 9, 4], "images")
        _layer(kind, x, weight, stride, dilation, padding)
        _check_patches(graph, weight, {"images:0": images})


@pytest.mark.parametrize("transposed", [False, True])
def test_rows_times_weights_are_what_a_matmul_returns(transposed: bool) -> None:
    """The weight as it is, or transposed."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(5, 3) if transposed else (3, 5)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 3], "images")
        tf.matmul(x, weight, transpose_b=transposed, name="layer")
        _check_patches(graph, weight, {"images:0": random.normal(size=(7, 3)).astype(np.float32)})


def _check_patches(graph: tf.Graph, weight: Any, feeds: dict[str, Any]) -> None:
    (layer,) = plan_for_mnn(graph, view=GraphView(graph)).layers
    op = graph.get_operation_by_name("layer")
    taken = patches(layer, op)
    with v1.Session(graph=graph) as session:
        inputs, result = session.run([taken, op.outputs[0]], feeds)
    rows = rows_of(layer, weight)
    np.testing.assert_array_equal(weight_of(layer, rows), weight)
    expected = np.einsum("pbk,brk->pbr", inputs, rows).reshape(result.shape)
    np.testing.assert_allclose(expected, result, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_moments_are_those_of_float64(batch: int, mean: float) -> None:
    """Whatever the batches, and with a mean that is far from zero."""
    random = np.random.default_rng(0)
    images = (mean + random.normal(size=(20, 6, 6, 3))).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 3], "images")
        y = tf.nn.conv2d(x, random.normal(size=(3, 3, 3, 4)), 1, "VALID", name="layer")
        (layer,) = plan_for_mnn(graph, view=GraphView(graph)).layers
        taken = patches(layer, y.op)
        batches = make_batches(graph, {"images": images}, batch)
        other = patches(layer, _other(layer, x, random).op)
        inputs, results = InputMoments.of(taken, other), ResultMoments.of(y, 4)
        with closing(SampleRuns(graph, batches)) as runs:
            found, returned = inputs.measured(runs), results.measured(runs)
            rows = np.concatenate([part.astype(np.float64) for part in runs.run(taken)])[:, 0]
            before = np.concatenate([part.astype(np.float64) for part in runs.run(other)])[:, 0]
            values = np.concatenate([part.astype(np.float64) for part in runs.run(y)])
    _near(found.covariance[0], np.cov(rows.T, bias=True))
    _near(found.crossed[0], np.cov(before.T, rows.T, bias=True)[:27, 27:])
    # Two sessions may sum a convolution in different orders.
    _near(returned.mean, values.mean((0, 1, 2)), 1e-5)
    _near(returned.variance, values.var((0, 1, 2)), 1e-4)


@given(positions=st.integers(1, 400), samples=st.integers(1, 5000), size=st.integers(1, 600))
def test_every_position_has_its_turn_among_the_rows(
    positions: int, samples: int, size: int
) -> None:
    """Enough rows are left, and no column of an image is left out as a whole."""
    step = _row_step(positions, samples, size)
    enough = max(2**14, 64 * size)
    assert step == 1 or positions * samples / step >= enough
    assert len({row % positions for row in range(0, positions * step, step)}) == positions


def _other(layer: Any, x: Any, random: np.random.Generator) -> Any:
    """The layer on what another graph makes of `x`."""
    return tf.nn.conv2d(x * 0.5 + 1, random.normal(size=layer.weight_shape), 1, "VALID")


@given(seed=st.integers(0, 2**16), size=st.integers(1, 12))
def test_compensated_weights_solve_the_least_squares_problem(seed: int, size: int) -> None:
    """NumPy's solver is the truth; the damping is that of rows sqrt(damping) I added to both."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(200, size)) @ random.normal(size=(size, size))
    before = inputs + 0.3 * random.normal(size=(200, size))
    weights = random.normal(size=(1, 3, size))
    covariance, crossed = inputs.T @ inputs / 200, before.T @ inputs / 200
    found = compensated(weights, crossed[None], covariance[None])
    added = np.sqrt(200 * COMPENSATION_DAMPING * np.trace(covariance) / size) * np.eye(size)
    left, right = np.concatenate([inputs, added]), np.concatenate([before, added])
    truth = np.linalg.lstsq(left, right @ weights[0].T, rcond=None)[0].T
    np.testing.assert_allclose(found[0], truth, atol=1e-6)


def test_inputs_that_did_not_change_ask_for_the_weights_themselves() -> None:
    """So that the first layer is rounded for what it is."""
    weights = np.random.default_rng(0).normal(size=(2, 3, 9))
    covariance = np.tile(np.diag(np.arange(9.0)), (2, 1, 1))
    np.testing.assert_allclose(compensated(weights, covariance, covariance), weights, atol=1e-12)


def _near(found: Any, truth: Sequence[float] | Any, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(found, truth, rtol=tolerance, atol=tolerance)
