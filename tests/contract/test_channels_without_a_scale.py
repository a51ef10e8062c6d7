"""Channels that are all zero, or too small for the target that stores them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.record import LayerFactors, Record, read_record
from graphquant_core.weak_channels import weak_channels
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.ascend import quantize_graph
from graphquant_wq import WeightQuantizer, quantize_frozen_weights, strip_wq_ops

v1 = tf.compat.v1
# One channel is all zero, two are so small that MNN's floor, 1e-6, or ours, 1.192e-7, is above.
SIZES = np.array([1, 0, 1e-5, 1e-9], np.float32)
KERNEL = np.random.default_rng(0).uniform(-1, 1, (3, 3, 8, 4)).astype(np.float32) * SIZES
IMAGES = np.random.default_rng(1).normal(size=(2, 4, 4, 8)).astype(np.float32)


def frozen() -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4, 4, 8], "x")
        tf.nn.relu(tf.nn.conv2d(x, KERNEL, 1, "SAME", name="conv"), name="y")
    return graph.as_graph_def()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [r for r in caplog.records if r.name.startswith("graphquant")]
    return [r.getMessage() for r in ours if r.levelno == logging.WARNING]


def test_both_kinds_are_counted_and_the_first_is_named() -> None:
    """Only what there is gets a sentence."""
    none = np.zeros(3, bool)
    assert weak_channels(none, none, "") == []
    assert weak_channels(np.array([False, True, True]), np.array([True, False, False]), "gone") == [
        "2 of 3 channels are all zero (the first is 1)",
        "1 of 3 channels is too small (the first is 0): gone",
    ]


@pytest.mark.parametrize(("asymmetric", "value"), [(False, "0"), (True, "its lowest value")])
def test_mnn_tells_of_dead_and_of_tiny_channels(
    caplog: pytest.LogCaptureFixture, asymmetric: bool, value: str
) -> None:
    """All-zero channels and scales of at most 1e-6 are warnings with the layer's name and the
    floor, when a frozen graph is quantised.
    """
    found = quantize_frozen_weights(
        frozen(), ["y"], asymmetric=asymmetric, keep_zeros=not asymmetric
    )
    dead, tiny = warnings(caplog)
    assert dead == 'layer "conv": 1 of 4 channels is all zero (the first is 1)'
    assert tiny == (
        'layer "conv": 2 of 4 channels are too small (the first is 2): '
        f"MNN stores {value} for a group whose scale is not above 1e-06"
    )
    assert [p.asymmetric for p in found.params] == [asymmetric]


def test_mnn_tells_of_them_when_a_trained_graph_is_stripped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As for a frozen graph, of the weights of that moment."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4, 4, 8], "x")
        kernel = v1.get_variable("w", initializer=KERNEL, use_resource=True)
        tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", name="conv"), name="y")
        quantizer = WeightQuantizer(graph, bits=8)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            quantizer.init(session)
            assert warnings(caplog) == []
            strip_wq_ops(graph)
    dead, tiny = warnings(caplog)
    assert dead == 'layer "conv": 1 of 4 channels is all zero (the first is 1)'
    assert tiny.startswith('layer "conv": 2 of 4 channels are too small (the first is 2): MNN')


@pytest.mark.parametrize("make", [quantize_graph, simulate])
def test_ascend_tells_of_channels_that_become_zero(
    caplog: pytest.LogCaptureFixture, make: Callable[..., object]
) -> None:
    """A float model with the scales that ARQ gives: 1.0 for what is below 1.192e-7; and so do the
    targets that start from the simulation.
    """
    largest = np.abs(KERNEL).max(axis=(0, 1, 2)) / 127
    scales = np.where(largest < np.float32(1.192092896e-7), np.float32(1), largest)
    factors = LayerFactors(0.01, 0, scales)
    make(frozen(), ["y"], Record({"conv": factors}))
    dead, tiny = warnings(caplog)
    assert dead == 'layer "conv": 1 of 4 channels is all zero (the first is 1)'
    assert tiny == (
        'layer "conv": 2 of 4 channels are too small (the first is 2): their codes are all 0; '
        "a scale below 1.19e-07 is recorded as 1"
    )


def test_a_trained_model_is_saved_with_finite_scales_and_the_same_warnings(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """s = 1, q = 0, nothing is divided by zero, and the gradients are finite."""
    config_file, record_file = str(tmp_path / "c.json"), str(tmp_path / "r.txt")
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4, 4, 8], "x")
        kernel = v1.get_variable("w", initializer=KERNEL, use_resource=True)
        y = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", name="conv"), name="y")
        amct.create_quant_retrain_config(config_file, graph)
        retrain_ops = amct.create_quant_retrain_model(graph, config_file, record_file)
        clips = [op for op in retrain_ops[:-1] if op.trainable]
        gradients = tf.gradients(tf.reduce_sum(y), [kernel, *clips])
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for gradient in session.run(gradients, {x: IMAGES}):
                assert np.isfinite(gradient).all()
            session.run(retrain_ops[-1])
            constant = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["y"]
            )
    scale = read_record(record_file)["conv"].scale_w
    assert scale is not None
    np.testing.assert_array_equal(scale[[1, 2, 3]], 1)
    (tmp_path / "frozen.pb").write_bytes(constant.SerializeToString())
    amct.save_quant_retrain_model(
        str(tmp_path / "frozen.pb"), ["y"], record_file, str(tmp_path / "model")
    )
    dead, tiny = warnings(caplog)
    assert dead == 'layer "conv": 1 of 4 channels is all zero (the first is 1)'
    assert tiny.startswith('layer "conv": 2 of 4 channels are too small (the first is 2)')
