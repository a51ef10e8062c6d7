"""Layers of which a record has no grid of the result: MNN computes them with floats, of its codes.

MNN's converter derives the scale of such a weight from each channel's largest value, and keeps no
other: it is the record's only where the record has a scale a channel, and a code at the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, RangeError
from graphquant_core.record import LayerFactors, Record
from graphquant_export.quantized.weight_codes import MnnWeight
from graphquant_export.targets.mnn.model_file import read_mnn_model
from graphquant_export.targets.mnn.stored_weights import put_weights
from graphquant_export.targets.target import MNN
from graphquant_export.verification import verify

v1 = tf.compat.v1
pytestmark = pytest.mark.usefixtures("mnn")

STEP, ZERO, BATCH = np.float32(0.03), -11, 5
INPUTS = {"vector": (12,), "pixel": (1, 1, 12), "image": (6, 6, 5), "pair": (6, 6, 6)}


@attrs.frozen
class Network:
    """Every kind of layer, each of one input: floats, or in float64 on the grids of `scales`.

    Channels differ by two orders of magnitude, the second to last is tiny and the last one zero.
    """

    scales: dict[str, np.ndarray] | None = None

    def build(self) -> tf.Graph:
        with tf.Graph().as_default() as graph:
            kind = tf.float32 if self.scales is None else tf.float64
            x = {name: v1.placeholder(kind, [None, *size], name) for name, size in INPUTS.items()}
            for name, layer in LAYERS.items():
                tf.identity(layer(self, x, name), name=f"{name}/result")
        return graph

    def weight(self, name: str, *shape: int, axis: int = -1) -> np.ndarray:
        values, channels = drawn(name, shape), np.geomspace(0.02, 1, shape[axis])
        channels[-2:] = 1e-5, 0
        spread = [-1 if i == axis % len(shape) else 1 for i in range(len(shape))]
        values = (values * channels.reshape(spread)).astype(np.float32)
        if self.scales is None:
            return values
        scale = self.scales[name].astype(np.float64)
        scale = scale if len(scale) == 1 else scale.reshape(spread)
        return np.rint(values / scale) * scale

    def bias(self, name: str, count: int) -> np.ndarray:
        values = drawn(f"{name}/bias", (count,))
        if self.scales is None:
            return values
        grid = self.scales[name].astype(np.float64) * STEP
        return np.rint(values / grid) * grid


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng(list(name.encode()))
    return random.normal(size=shape).astype(np.float32)


def dense(n: Network, x: Any, name: str) -> tf.Tensor:
    return tf.matmul(x["vector"], n.weight(name, 12, 9), name=name)


def biased(n: Network, x: Any, name: str) -> tf.Tensor:
    return tf.nn.relu(tf.nn.bias_add(dense(n, x, name), n.bias(name, 9)))


def large(n: Network, x: Any, name: str) -> tf.Tensor:
    return tf.matmul(x["vector"], n.weight(name, 12, 6000), name=name)


def single(n: Network, x: Any, name: str) -> tf.Tensor:
    return tf.matmul(x["vector"], n.weight(name, 12, 3)[:, :1], name=name)


def on_a_pixel(n: Network, x: Any, name: str) -> tf.Tensor:
    y = tf.matmul(tf.reshape(x["pixel"], [-1, 12]), n.weight(name, 12, 9), name=name)
    return tf.nn.relu(tf.reshape(tf.nn.bias_add(y, n.bias(name, 9)), [-1, 1, 1, 9]))


def convolution(n: Network, x: Any, name: str) -> tf.Tensor:
    y = tf.nn.conv2d(x["image"], n.weight(name, 3, 3, 5, 9), 2, "SAME", name=name)
    return tf.nn.relu(tf.nn.bias_add(y, n.bias(name, 9)))


def groups(n: Network, x: Any, name: str) -> tf.Tensor:
    parts = tf.split(x["pair"], 2, -1), np.split(n.weight(name, 3, 3, 3, 8), 2, -1)
    if n.scales is not None:
        return tf.concat([tf.nn.conv2d(*p, 1, "SAME") for p in zip(*parts, strict=True)], -1)
    return tf.nn.conv2d(x["pair"], n.weight(name, 3, 3, 3, 8), 1, "SAME", name=name)


def depthwise(n: Network, x: Any, name: str) -> tf.Tensor:
    weight = n.weight(name, 3, 3, 5, 1, axis=2)
    return v1.nn.depthwise_conv2d_native(x["image"], weight, [1, 1, 1, 1], "SAME", name=name)


def transposed(n: Network, x: Any, name: str) -> tf.Tensor:
    weight = n.weight(name, 3, 3, 9, 5, axis=2)
    sizes = tf.stack([tf.shape(x["image"])[0], 12, 12, 9])
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=sizes,
        filter=weight,
        out_backprop=x["image"],
        strides=[1, 2, 2, 1],
        padding="SAME",
        name=name,
    )


LAYERS: dict[str, Callable[..., tf.Tensor]] = {
    layer.__name__: layer
    for layer in (
        *(dense, biased, large, single, on_a_pixel),
        *(convolution, groups, depthwise, transposed),
    )
}


def one_scale(channels: np.ndarray) -> np.ndarray:
    return channels.max(keepdims=True)


def scale_a_channel(channels: np.ndarray) -> np.ndarray:
    return np.maximum(channels, channels.max() * 1e-3)


SCALES = (one_scale, scale_a_channel)


@attrs.frozen
class Exported:
    """An export with the record's scales, no code of which is at the limit."""

    artifact: Any
    scales: dict[str, np.ndarray]
    feeds: dict[str, np.ndarray]
    found: dict[str, np.ndarray]
    wanted: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=SCALES, ids=lambda scales: scales.__name__)
def exported(request, tmp_path_factory) -> Exported:
    """The network without grids of results, in MNN and in float64."""
    graph = Network().build()
    outputs = [f"{name}/result" for name in LAYERS]
    scales = {}
    for name in LAYERS:
        needed = np.abs(channels_first(graph, name)).max(1) / 127
        scales[name] = (1.3 * request.param(needed)).astype(np.float32)
    record = Record({name: LayerFactors(STEP, ZERO, scale) for name, scale in scales.items()})
    path = tmp_path_factory.mktemp("float_results") / "m"
    artifact = MNN.export(graph.as_graph_def(), outputs, record, path)
    random = np.random.default_rng(1)
    feeds = {
        name: (random.integers(-128, 128, (BATCH, *size)) - ZERO) * STEP
        for name, size in INPUTS.items()
    }
    found = MNN.runtime(artifact).run(feeds, outputs)
    with Network(scales).build().as_default(), v1.Session() as session:
        given = {f"{name}:0": value.astype(np.float64) for name, value in feeds.items()}
        wanted = session.run({name: f"{name}:0" for name in outputs}, given)
    return Exported(artifact, scales, feeds, found, wanted)


def channels_first(graph: tf.Graph, name: str) -> np.ndarray:
    """The weight of a layer, ``[C, n]``, in the order in which MNN stores it."""
    op = graph.get_operation_by_name(name)
    weight = tf.make_ndarray(op.inputs[1].op.get_attr("value"))
    order = {2: (1, 0), 4: (3, 2, 0, 1)}[weight.ndim]
    if op.type in ("Conv2DBackpropInput", "DepthwiseConv2dNative"):
        order = 2, 3, 0, 1
    first = weight.transpose(order)
    return first.reshape(len(first), -1)


@pytest.mark.parametrize("name", LAYERS)
def test_mnn_returns_what_the_records_integers_do(exported, name):
    """Within what float32 sums leave of float64, a thousandth of a step: no code is another."""
    found, wanted = exported.found[f"{name}/result"], exported.wanted[f"{name}/result"]
    step = np.ptp(wanted) / 255
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3 * step)


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"transposed"}))
def test_the_file_holds_the_records_codes_and_scales(exported, name):
    """All of them, in layers that compute with floats, although no code is at the limit."""
    rows = [row for row in exported.artifact.layers if row.name == name]
    stored = read_mnn_model(exported.artifact.model_path).layers
    parts = [stored[row.mnn_name] for row in rows]
    scale = exported.scales[name][:, None].astype(np.float64)
    codes = np.rint(channels_first(Network().build(), name) / scale)
    assert np.abs(codes).max() < 127
    np.testing.assert_array_equal(np.concatenate([part.weight.codes for part in parts]), codes)
    found = np.concatenate([part.weight.scale for part in parts])
    np.testing.assert_array_equal(found, np.broadcast_to(scale[:, 0], found.shape))
    assert not any(part.int8 for part in parts)
    assert {row.off_by for row in rows} == {0.0}


def test_it_is_verified_and_opened_again(exported):
    """`verify` finds each layer where it is, and an artifact that is opened the same integers."""
    checked = verify(exported.artifact, exported.feeds, layers=True)
    assert checked.ok(), checked.problems()
    assert {row.layer for row in checked.layers} == set(LAYERS)
    assert max(row.found.largest for row in checked.layers) < 1e-3
    assert {row.execution for row in checked.executions} == {"int8 weights"}
    again: Any = MNN.open(exported.artifact.model_path.with_suffix(""), exported.artifact.source)
    assert again.layers == exported.artifact.layers


def test_a_changed_code_is_found(exported, tmp_path):
    """One code or one scale of a layer that computes with floats: opening names the layer."""
    source = exported.artifact.source
    (layer,) = (row for row in exported.artifact.layers if row.name == "dense")
    weight = read_mnn_model(exported.artifact.model_path).layers[layer.mnn_name].weight
    codes, scale = weight.codes.copy(), weight.scale.copy()
    codes[2, 3] += 1
    scale[4] *= 2
    copies = [path.read_bytes() for path in exported.artifact.paths]
    for change, told in ((codes, weight.scale), "1 of 108"), ((weight.codes, scale), "channel 4"):
        paths = [tmp_path / path.name for path in exported.artifact.paths]
        for path, content in zip(paths, copies, strict=True):
            path.write_bytes(content)
        put_weights(paths[0], {layer.mnn_name: MnnWeight(*change, None, 8)})
        with pytest.raises(RangeError, match=f'layer "dense".*{told}'):
            MNN.open(tmp_path / "m", source)


def test_weights_of_another_number_are_refused(exported, tmp_path):
    """The file stays as it was."""
    path = tmp_path / "m.mnn"
    path.write_bytes(exported.artifact.model_path.read_bytes())
    name = next(row.mnn_name for row in exported.artifact.layers if row.name == "dense")
    weight = MnnWeight(np.zeros((9, 11), np.int8), np.ones(9, np.float32), None, 8)
    with pytest.raises(ModelFileError, match=f'"{name}".*instead of'):
        put_weights(path, {name: weight})
    assert path.read_bytes() == exported.artifact.model_path.read_bytes()
