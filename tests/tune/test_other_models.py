"""Models that are no classifiers: `within` finds the layers that int8 destroys."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import graphquant_export as gq
from graphquant_core.exceptions import NoLayersError, NonFiniteError
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.registry import load_registry
from graphquant_export.inputs import LoadedModel
from graphquant_export.post_training import quantize_post_training
from graphquant_tune import sensitivity, tune
from graphquant_tune.distill import distil
from graphquant_tune.distill_int8 import distil_int8
from graphquant_tune.folded import fold_model
from graphquant_tune.loop import Schedule
from graphquant_tune.quality import Quality
from graphquant_tune.samples import Samples

v1 = tf.compat.v1
FFT, BINS, FRAMES = 32, 17, 8
RANDOM = np.random.default_rng(5)


def audio(new_net) -> LoadedModel:
    """A Fourier transform as a convolution, its power, bands, a logarithm; a layer and a dense."""
    angle = 2 * np.pi * np.outer(np.arange(FFT), np.arange(BINS)) / FFT
    basis = np.concatenate([np.cos(angle), -np.sin(angle)], 1) * np.hanning(FFT)[:, None]
    bands = np.kron(np.eye(8), np.ones((2, 1)))
    with tf.Graph().as_default() as graph:
        net = new_net(0)
        x = v1.placeholder(tf.float32, [None, FFT * FRAMES], "wave")
        kernel = basis.reshape(1, FFT, 1, -1).astype(np.float32)
        x = tf.reshape(x, [-1, 1, FFT * FRAMES, 1])
        x = tf.nn.conv2d(x, kernel, [1, 1, FFT, 1], "VALID", name="stft")
        real, imaginary = tf.split(tf.reshape(x, [-1, FRAMES, 2 * BINS]), 2, -1)
        power = tf.reshape((real * real + imaginary * imaginary)[:, :, 1:], [-1, 16])
        x = 0.2 * tf.math.log(tf.matmul(power, bands.astype(np.float32), name="bands") + 1e-4)
        x = tf.nn.relu(net.norm(net.conv(tf.reshape(x, [-1, FRAMES, 8, 1]), 8, 3, "conv")))
        x = net.dense(tf.reduce_mean(x, [1, 2]), 6, "dense")
        tf.nn.bias_add(x, net.vector(-1, 1, 6), name="embedding")
    return LoadedModel(graph.as_graph_def(), ("wave",), ("embedding",))


def waves(count: int) -> np.ndarray:
    """Sines of loudness from -60 to 0 dB, and noise."""
    time = np.arange(FFT * FRAMES)
    loudness, frequency = (
        10 ** RANDOM.uniform(-3, 0, (count, 1)),
        RANDOM.uniform(0.05, 0.4, (count, 1)),
    )
    tones = loudness * np.sin(2 * np.pi * frequency * time)
    return (tones + 1e-3 * RANDOM.normal(size=tones.shape)).astype(np.float32)


def detector(new_net) -> LoadedModel:
    """Two heads on one map: boxes, whose sizes are exponentials, and scores behind a sigmoid."""
    with tf.Graph().as_default() as graph:
        net = new_net(1)
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
        y = tf.nn.relu(net.norm(net.conv(x, 8, 3, "stem")))
        box = tf.nn.bias_add(net.conv(y, 4, 1, "box"), net.vector(-0.1, 0.1, 4))
        score = tf.nn.bias_add(net.conv(y, 3, 1, "score"), net.vector(-3, -2, 3))
        box = tf.reshape(box, [-1, 64, 4])
        tf.concat([box[:, :, :2], tf.exp(box[:, :, 2:])], -1, name="boxes")
        tf.sigmoid(tf.reshape(score, [-1, 64, 3]), name="scores")
    return LoadedModel(graph.as_graph_def(), ("images",), ("boxes", "scores"))


def test_a_front_end_that_int8_destroys_stays_float(new_net, caplog):
    """Its quiet signals vanish in the steps of loud ones; a logarithm brings them up again.

    What is tried on the way says nothing, though a channel of sines is all zero.
    """
    model, samples = audio(new_net), {"wave": waves(64)}
    everything = tune(model, samples, "ascend", steps=0)
    assert everything.before.sqnr < 20
    found = tune(model, samples, "ascend", steps=0, within="30dB")
    floats = set(everything.bits) - set(found.bits)
    assert "bands" in floats
    assert floats <= {"stft", "bands"}
    assert found.before.sqnr >= 30
    assert caplog.messages == []


def test_every_output_of_a_detector_is_within(new_net, images, tmp_path):
    """Boxes and scores, of the file in its runtime; a decibel more than all layers in int8 give."""
    model, samples = detector(new_net), {"images": images[:64]}
    wanted = tune(model, samples, "ascend", steps=0).before.sqnr + 1
    found = tune(model, samples, "ascend", steps=0, within=f"{wanted}dB")
    assert 0 < len(found.bits) < 3
    tuned = gq.LoadedModel(found.graph_def, model.inputs, found.outputs)
    artifact = gq.export(tuned, found.factors, "ascend", tmp_path / "m")
    deployed = load_registry().exporter("ascend").runtime(artifact).run(samples, found.outputs)
    with v1.Session(graph=model.graph()) as session:
        floats = session.run({n: f"{n}:0" for n in found.outputs}, {"images:0": samples["images"]})
    for name, value in floats.items():
        error = np.square(value - deployed[name], dtype=np.float64).sum()
        ratio = 10 * np.log10(np.square(value, dtype=np.float64).sum() / error)
        assert ratio >= wanted - 0.01, name


@pytest.mark.parametrize("name", ["int8.deployed_quality", "quality.FloatAnswers.quality"])
def test_a_quantised_model_that_answers_nan_is_told(models, images, name, monkeypatch, caplog):
    """In int8 and with weights alone; the warning says what leaves layers float."""
    lost = Quality(np.inf, -np.inf, 0.0)
    monkeypatch.setattr(f"graphquant_tune.{name}", lambda *_: lost)
    weight_only = name.startswith("quality")
    model, samples = models["classifier"](), {"images": images}
    tune(model, samples, "onnx", steps=0, weight_only=weight_only)
    assert "answers NaN or infinity on samples; within leaves" in caplog.text


def test_a_model_that_answers_nan_is_refused(new_net):
    """Nothing can be near that; the error names the output."""
    with tf.Graph().as_default() as graph:
        x = new_net(0).dense(v1.placeholder(tf.float32, [None, 4], "x"), 3, "dense")
        tf.math.log(x, name="logarithms")
    model = LoadedModel(graph.as_graph_def(), ("x",), ("logarithms",))
    samples = {"x": RANDOM.normal(size=(16, 4)).astype(np.float32)}
    with pytest.raises(NonFiniteError, match='"logarithms"'):
        tune(model, samples, "ascend", steps=0)
    with pytest.raises(NonFiniteError, match='"logarithms"'):
        sensitivity(model, samples)


@pytest.mark.parametrize("options", [{}, {"weight_only": True}, {"within": "30dB"}])
def test_a_model_without_layers_is_refused(options):
    """There is nothing to quantise; the error says so."""
    with tf.Graph().as_default() as graph:
        tf.nn.relu(v1.placeholder(tf.float32, [None, 4], "x"), name="y")
    model = LoadedModel(graph.as_graph_def(), ("x",), ("y",))
    samples = {"x": RANDOM.normal(size=(16, 4)).astype(np.float32)}
    with pytest.raises(NoLayersError):
        tune(model, samples, "ascend", **options)
    with pytest.raises(NoLayersError):
        sensitivity(model, samples)


def test_layers_that_stay_float_are_not_trained(models, images):
    """To the bit: what was designed, such as a Fourier transform, is not learned anew."""
    model = models["classifier"]()
    folded = fold_model(model.graph_def, model.outputs)
    (left, *others), start = folded.layers, folded.values()
    samples = Samples(import_frozen(folded.graph_def), {"images": images}, 32)
    bits = {layer.name: 4 for layer in others}
    values, _ = distil(folded, bits, start, samples, samples, Schedule(5))
    assert not {left.weight, left.bias} & values.keys()
    assert {layer.weight for layer in others} <= values.keys()
    estimated = quantize_post_training(
        folded.graph_def, folded.outputs, samples.some(64), skip_layers=[left.name], target="onnx"
    )
    frozen, record, _ = distil_int8(folded, estimated, samples, samples, "onnx", Schedule(5))
    assert list(record) == list(bits)
    kept = {node.name: node for node in frozen.node}
    for name in (left.weight, left.bias):
        np.testing.assert_array_equal(tf.make_ndarray(kept[name].attr["value"].tensor), start[name])


@pytest.mark.parametrize("weight_only", [False, True])
def test_training_that_diverges_keeps_its_start(models, images, weight_only, monkeypatch, caplog):
    """A rate that is far too high leads to NaN: it is told, and the untrained model is there."""
    monkeypatch.setattr("graphquant_tune.distill.RATE", 1e38)
    monkeypatch.setattr("graphquant_tune.distill_int8.RATE", 1e38)
    model, options = models["classifier"](), {"weight_only": weight_only, "batch_size": 32}
    found = tune(model, {"images": images}, "onnx", steps=20, **options)
    assert found.training.diverged
    assert found.training.steps < 20
    assert found.after == found.before
    assert "training diverged after" in caplog.text
    untrained = tune(model, {"images": images}, "onnx", steps=0, **options)
    assert found.graph_def == untrained.graph_def
