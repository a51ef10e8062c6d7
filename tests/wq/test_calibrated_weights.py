"""`quantize_frozen_weights` with samples: GPTQ, and the mean and deviation of every channel."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core import load_registry
from graphquant_core.exceptions import ConfigError, NonFiniteError, RangeError
from graphquant_export import verify
from graphquant_export.targets.mnn import mnn_quantize
from graphquant_wq import quantize_frozen_weights
from graphquant_wq.frozen_weights import QuantizedWeights
from graphquant_wq.graph import sample_runs

v1 = tf.compat.v1

RANDOM = np.random.default_rng(0)
SAMPLES = {
    "images": (
        RANDOM.normal(size=(64, 12, 12, 3)).cumsum(axis=1) + RANDOM.normal(size=(64, 1, 1, 3))
    ).astype(np.float32)
}
LAYERS = ("first", "depthwise", "pointwise", "up", "plain", "hidden", "dense")


def _normal(*shape: int) -> Any:
    return RANDOM.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)


def _norm(x: Any, name: str) -> Any:
    channels = x.shape[-1]
    gamma, beta = _normal(channels) + 0.5, _normal(channels)
    mean, variance = _normal(channels), np.square(_normal(channels)) + 0.5
    return v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False, name=name)[0]


def _network() -> tf.compat.v1.GraphDef:
    """Every type of layer; behind them a bias, a batch norm, a factor and a shift, or nothing."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 12, 12, 3], "images")
        x = tf.nn.conv2d(x, _normal(3, 3, 3, 16), 1, "SAME", name="first")
        x = tf.nn.relu(tf.nn.bias_add(x, _normal(16)))
        x = v1.nn.depthwise_conv2d_native(
            x, _normal(3, 3, 16, 1), [1, 2, 2, 1], "SAME", name="depthwise"
        )
        x = tf.nn.relu6(_norm(x, "norm"))
        x = tf.nn.conv2d(x, _normal(1, 1, 16, 24), 1, "SAME", name="pointwise") * _normal(24)
        x = tf.nn.relu(x - _normal(24))
        shape = tf.stack([tf.shape(x)[0], 12, 12, 8])
        x = tf.nn.conv2d_transpose(x, _normal(2, 2, 8, 24), shape, 2, "SAME", name="up")
        x.set_shape([None, 12, 12, 8])
        x = tf.nn.relu(_norm(x, "up_norm"))
        y = tf.nn.conv2d(x, _normal(3, 3, 8, 8), 1, "SAME", name="plain")
        x = tf.reduce_mean(tf.nn.relu(y) + x + y, [1, 2])
        x = tf.nn.relu(tf.matmul(x, _normal(20, 8), transpose_b=True, name="hidden"))
        x = tf.nn.bias_add(tf.matmul(x, _normal(20, 10), name="dense"), _normal(10))
        tf.identity(x, name="logits")
    return graph.as_graph_def()


NETWORK = _network()


def _quantize(bits: int = 3, **options: Any) -> QuantizedWeights:
    options = {"samples": SAMPLES, "uniform": True, **options}
    return quantize_frozen_weights(NETWORK, ["logits"], bits, **options)


@functools.cache
def _quantized(bits: int) -> QuantizedWeights:
    return _quantize(bits)


def _run(
    graph_def: tf.compat.v1.GraphDef, names: list[str], feeds: Mapping[str, Any] = SAMPLES
) -> list[Any]:
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run([f"{name}:0" for name in names], {"images:0": feeds["images"]})


def _behind(graph_def: tf.compat.v1.GraphDef, layer: str) -> str:
    """What follows `layer` and was shifted."""
    tails = {"pointwise": "sub", "depthwise": "norm", "up": "up_norm", "first": "BiasAdd"}
    names = {node.name for node in graph_def.node}
    shifted = f"{layer}/shifted"
    return shifted if shifted in names else tails.get(layer, layer)


@pytest.mark.parametrize("bits", [2, 3])
def test_the_mean_of_every_channel_is_the_float_one(bits: int) -> None:
    """On the samples, what each layer hands on has the float graph's mean in every channel."""
    found = _quantized(bits).graph_def
    names = [*(_behind(found, layer) for layer in LAYERS[:-1]), "logits"]
    floats = [name.removesuffix("/shifted") for name in names]
    for name, new, old in zip(names, _run(found, names), _run(NETWORK, floats), strict=True):
        axes = tuple(range(old.ndim - 1))
        deviation = old.std(axis=axes) + 1e-3
        moved = np.abs(
            new.mean(axis=axes, dtype=np.float64) - old.mean(axis=axes, dtype=np.float64)
        )
        assert np.all(moved < 1e-4 * deviation), name


def test_the_deviation_of_every_channel_is_the_float_one() -> None:
    """Where a group is an output channel, and less than twice is needed."""
    found = _quantized(3).graph_def
    names = ["first", "depthwise", "pointwise", "hidden", "dense"]
    for name, new, old in zip(names, _run(found, names), _run(NETWORK, names), strict=True):
        axes = tuple(range(old.ndim - 1))
        np.testing.assert_allclose(
            new.std(axis=axes, dtype=np.float64),
            old.std(axis=axes, dtype=np.float64),
            rtol=1e-4,
            err_msg=name,
        )


@pytest.mark.parametrize("bits", [2, 3])
def test_the_output_is_nearer_to_the_float_one(bits: int) -> None:
    """Than with each weight rounded by itself; on images that it hasn't seen, too."""
    fresh = {"images": SAMPLES["images"][::-1, ::-1] * np.float32(0.9)}
    rounded = _quantize(bits, samples=None).graph_def
    for feeds in (SAMPLES, fresh):
        (truth,) = _run(NETWORK, ["logits"], feeds)
        (nearest,) = _run(rounded, ["logits"], feeds)
        (found,) = _run(_quantized(bits).graph_def, ["logits"], feeds)
        assert np.square(found - truth).mean() < 0.5 * np.square(nearest - truth).mean()


@pytest.mark.parametrize(("bits", "asymmetric"), [(2, True), (3, False), (8, True)])
def test_mnn_finds_the_weights_on_the_grid_again(bits: int, asymmetric: bool) -> None:
    """Both ends of the grid of each group are in use, so that MNN's formula changes nothing."""
    found = _quantize(bits, asymmetric=asymmetric)
    nodes = {node.name: node for node in found.graph_def.node}
    for layer in set(LAYERS) - {"up"}:
        weight = tf.make_ndarray(nodes[f"{layer}/on_grid"].attr["value"].tensor)
        axis = {"depthwise": 2, "hidden": 0}.get(layer, -1)
        rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
        stored = mnn_quantize(rows, bits, asymmetric)
        np.testing.assert_allclose(stored.values(), rows, rtol=1e-5, atol=1e-6, err_msg=layer)
        used = np.abs(stored.codes.astype(int)).max(axis=1) if not asymmetric else None
        if used is not None:
            assert np.all(used == 2 ** (bits - 1) - 1)
        else:
            assert np.all(np.ptp(stored.codes.astype(int), axis=1) == 2**bits - 1)


def test_the_same_arguments_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether values are kept between the layers or computed again."""
    first = _quantized(3).graph_def.SerializeToString(deterministic=True)
    assert _quantize().graph_def.SerializeToString(deterministic=True) == first
    monkeypatch.setattr(sample_runs, "KEPT_BYTES", 100_000)
    assert _quantize().graph_def.SerializeToString(deterministic=True) == first


def test_a_layer_that_gptq_does_not_fit_says_why() -> None:
    """Too few samples for a dense layer's inputs; the others are rounded by GPTQ."""
    few = {"images": SAMPLES["images"][:5]}
    found = {row.name: row for row in _quantize(samples=few).rounded}
    assert list(found) == list(LAYERS)
    assert {name for name, row in found.items() if row.method == "nearest"} == {"hidden", "dense"}
    assert found["hidden"].reason == "its 8 inputs were seen 5 times; at least as often is needed"
    still = {"images": np.zeros((9, 12, 12, 3), np.float32)}
    reasons = {row.name: row.reason for row in _quantize(samples=still).rounded}
    assert reasons["first"] == "what it takes is the same for every sample"


@pytest.mark.parametrize("bits", [2, 3])
def test_no_layer_loses_more_than_rounded_to_the_nearest(bits: int) -> None:
    """In the variance that rounding adds to its results; nearly all of them lose much less."""
    rows = [row for row in _quantized(bits).rounded if row.error is not None]
    assert [row.name for row in rows] == list(LAYERS)
    ratios = [row.error / row.nearest_error for row in rows]
    assert max(ratios) <= 1
    assert np.median(ratios) < 0.7


def test_everything_but_weights_and_shifts_is_as_it_was() -> None:
    """Other constants keep their values, and outputs and layers their names."""
    before = {node.name: node for node in NETWORK.node}
    found = {node.name: node for node in _quantized(3).graph_def.node}
    for name, node in found.items():
        if node.op == "Const" and name in before:
            assert node == before[name]
    added = {name for name in found if name not in before}
    assert all(name.endswith(("/on_grid", "/corrected", "/shifted", "/bias")) for name in added)
    assert {name for name in before if before[name].op != "Const"} <= set(found)


def test_a_weight_that_layers_share_stays_one() -> None:
    """It is rounded for what both of them take; each gets its own mean back."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 12, 12, 3], "images")
        weight = tf.constant(_normal(3, 3, 3, 3))
        for name in ("one", "two"):
            x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, weight, 1, "SAME", name=name), [0, 1, 2]))
        tf.identity(x, "logits")
    found = quantize_frozen_weights(graph.as_graph_def(), ["logits"], 3, samples=SAMPLES)
    nodes = {node.name: node for node in found.graph_def.node}
    assert nodes["one"].input[1] == nodes["two"].input[1]
    assert [row.method for row in found.rounded] == ["gptq", "gptq"]
    for new, old in zip(
        _run(found.graph_def, ["BiasAdd", "BiasAdd_1"]),
        _run(graph.as_graph_def(), ["BiasAdd", "BiasAdd_1"]),
        strict=True,
    ):
        np.testing.assert_allclose(new.mean((0, 1, 2)), old.mean((0, 1, 2)), atol=1e-4)


def test_several_inputs_and_batches_that_the_model_fixes() -> None:
    """An input with a default may be left out; an output without a bias keeps its name."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2, 12, 12, 3], "images")
        share = v1.placeholder_with_default(np.float32(2), [], "share")
        x = tf.nn.relu(tf.nn.conv2d(x * share, _normal(3, 3, 3, 8), 1, "SAME", name="conv"))
        mask = v1.placeholder(tf.float32, [2, 8], "mask")
        tf.matmul(tf.reduce_mean(x, [1, 2]) * mask, _normal(8, 4), name="out")
    samples = {**SAMPLES, "mask": RANDOM.random((64, 8), np.float32)}
    found = quantize_frozen_weights(graph.as_graph_def(), ["out"], 3, samples=samples)
    assert [row.name for row in found.rounded] == ["conv", "out"]
    names = {node.name for node in found.graph_def.node}
    assert "conv/shifted" in names
    assert "out/shifted" not in names


def test_wrong_samples_are_refused() -> None:
    """Names, shapes and values that cannot be are one error each."""
    with pytest.raises(ConfigError, match='samples: "image" is not a placeholder'):
        _quantize(samples={"image": SAMPLES["images"]})
    with pytest.raises(RangeError, match=r"samples: the value of \"images\" has the shape"):
        _quantize(samples={"images": SAMPLES["images"][:, :5]})
    with pytest.raises(NonFiniteError, match="samples"):
        _quantize(samples={"images": SAMPLES["images"] * np.float32(np.nan)})
    with pytest.raises(NonFiniteError, match='what layer "first" returns on samples'):
        _quantize(samples={"images": np.full((2, 12, 12, 3), 3e38, np.float32)})


def test_blocks_of_input_channels_have_grids_of_their_own() -> None:
    """16 of 48 input channels share a scale; MNN's formula finds each of them again."""
    with tf.Graph().as_default() as graph:
        x = tf.tile(v1.placeholder(tf.float32, [None, 12, 12, 3], "images"), [1, 1, 1, 16])
        x = tf.nn.relu(x + _normal(48) * 10)
        tf.nn.conv2d(x, _normal(3, 3, 48, 8), 2, "SAME", name="conv")
        tf.identity(graph.get_tensor_by_name("conv:0"), name="logits")
    model = graph.as_graph_def()
    found = quantize_frozen_weights(model, ["logits"], 3, samples=SAMPLES, block_size=16)
    assert [(layer.method, layer.reason) for layer in found.rounded] == [("gptq", "")]
    assert [layer.block_size for layer in found.params] == [16]
    nodes = {node.name: node for node in found.graph_def.node}
    weight = tf.make_ndarray(nodes["conv/on_grid"].attr["value"].tensor)
    rows = weight.transpose(3, 2, 0, 1).reshape(8 * 3, -1)
    stored = mnn_quantize(rows, 3, True)
    np.testing.assert_allclose(stored.values(), rows, rtol=1e-5, atol=1e-6)
    assert np.all(np.ptp(stored.codes.astype(int), axis=1) == 7)


@pytest.mark.parametrize(
    ("target", "needs"), [("mnn", "MNN"), ("onnx", "onnxruntime"), ("litert", "ai_edge_litert")]
)
@pytest.mark.parametrize("bits", [3, 8])
def test_the_runtime_gives_what_the_graph_gives(
    tmp_path: Path, target: str, needs: str, bits: int
) -> None:
    """The file in its real runtime, beside the frozen graph in TensorFlow."""
    if find_spec(needs) is None:
        pytest.skip(f"needs {needs}")
    found = _quantized(bits)
    exporter = load_registry().exporter(target)
    artifact = exporter.export(found.graph_def, found.outputs, found.params, tmp_path / "m")
    seen = verify(artifact, SAMPLES)
    assert seen.ok()
