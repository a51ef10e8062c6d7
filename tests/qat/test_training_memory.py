"""Fake quantisation keeps no activation more than the float network does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct

v1 = tf.compat.v1


def network(depthwise: bool, shared: bool) -> tf.Tensor:
    """Six convolutions with batch norm and Relu on 4 images of 32 x 32 x 16; the loss."""
    random = np.random.default_rng(0)
    images = random.normal(size=(4, 32, 32, 16)).astype(np.float32)
    x = v1.placeholder_with_default(images, images.shape)
    for index in range(6):
        with v1.variable_scope(f"block{index}"):
            shape = (3, 3, 16, 1) if depthwise else (3, 3, 16, 16)
            weight = v1.get_variable("weight", initializer=random.normal(0, 0.1, shape).astype("f"))
            convolve = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
            y = convolve(x, weight, [1, 1, 1, 1], "SAME")
            if shared:
                other = v1.get_variable(
                    "other", initializer=random.normal(0, 0.1, (1, 1, 16, 16)).astype("f")
                )
                y += tf.nn.conv2d(x, other, 1, "SAME")
            ones, zeros = np.ones(16, np.float32), np.zeros(16, np.float32)
            y = v1.nn.fused_batch_norm(y, ones, zeros, is_training=True)[0]
            x = tf.nn.relu(y)
    return tf.reduce_mean(tf.square(x))


def trained(folder: Path, quantised: bool, **kind: bool) -> tuple[int, list[np.ndarray]]:
    """Most bytes that are alive at once in the third step, and the gradients of all variables."""
    with tf.Graph().as_default() as graph:
        loss = network(**kind)
        if quantised:
            files = [str(folder / name) for name in ("config.json", "record.txt")]
            amct.create_quant_retrain_config(files[0], graph)
            amct.create_quant_retrain_model(graph, *files)
        gradients = tf.gradients(loss, v1.trainable_variables())
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for _ in range(2):
                session.run(gradients)
            traced = v1.RunMetadata()
            options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
            found = session.run(gradients, options=options, run_metadata=traced)
    return peak(traced), found


def peak(traced: Any) -> int:
    changes = [
        (record.alloc_micros, -record.alloc_bytes)
        for device in traced.step_stats.dev_stats
        for node in device.node_stats
        for memory in node.memory
        for record in memory.allocation_records
    ]
    return int(np.cumsum([-freed for _, freed in sorted(changes)]).max())


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_step_keeps_what_a_float_step_keeps(
    tmp_path: Path, depthwise: bool, shared: bool
) -> None:
    """By TensorFlow's own account of allocations, the peak is at most 1.3 of the float step's."""
    kind = {"depthwise": depthwise, "shared": shared}
    float_peak, _ = trained(tmp_path, quantised=False, **kind)
    fake_peak, _ = trained(tmp_path, quantised=True, **kind)
    assert fake_peak <= 1.3 * float_peak


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_are_those_of_values_that_are_kept(
    tmp_path: Path, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computing a value again gives its gradients to the last bit."""
    kind = {"depthwise": False, "shared": shared}
    _, again = trained(tmp_path, quantised=True, **kind)
    monkeypatch.setattr("graphquant_qat.graph.gradients.computed_again", lambda op: op.outputs[0])
    _, kept = trained(tmp_path, quantised=True, **kind)
    for one, other in zip(again, kept, strict=True):
        np.testing.assert_array_equal(one, other)
