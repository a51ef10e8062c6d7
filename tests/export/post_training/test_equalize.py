"""Channels between layers are brought to one size: what that changes, and what it doesn't."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import RecordError
from graphquant_core.record import Record, format_record, parse_record
from graphquant_core.registry import load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_export.post_training import equalized, quantize_post_training
from graphquant_export.quantized.rescale import balanced_by_record
from graphquant_export.quantized.simulate import simulate
from graphquant_export.quantized.target_simulation import simulate_target
from graphquant_export.verification import verify

v1 = tf.compat.v1

LARGE = 100.0
X = np.random.default_rng(7).normal(size=(32, 8, 8, 6)).astype(np.float32)


class Weights:
    """Random weights, whose channel 1 is large where it is given and small where it is taken."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(3)

    def make(self, *shape: int, given: int | None = None, taken: int | None = None) -> np.ndarray:
        """float32, channel 1 along axis `given` times 100, along axis `taken` divided by it."""
        fan = max(np.prod(shape[:-1]), 1)
        values = self._random.normal(size=shape) / np.sqrt(fan)
        for axis, factor in ((given, LARGE), (taken, 1 / LARGE)):
            if axis is not None:
                along = [1] * len(shape)
                along[axis] = shape[axis]
                factors = np.ones(shape[axis])
                factors[1] = factor
                values = values * factors.reshape(along)
        return values.astype(np.float32)


def conv_pair(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """Bias and Relu between."""
    y = tf.nn.conv2d(x, w.make(3, 3, 6, 8, given=3), 1, "SAME", name="first")
    y = tf.nn.relu(tf.nn.bias_add(y, w.make(8, given=0)))
    return tf.nn.conv2d(y, w.make(3, 3, 8, 4, taken=2), 2, "SAME", name="second")


def depthwise_chain(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """Convolution, depthwise with multiplier 2 behind padding, and a 1x1 convolution."""
    y = tf.nn.relu(tf.nn.conv2d(x, w.make(1, 1, 6, 8, given=3), 1, "SAME", name="first"))
    y = tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])
    y = tf.nn.depthwise_conv2d(y, w.make(3, 3, 8, 2, taken=2), [1, 1, 1, 1], "VALID", name="second")
    y = tf.nn.leaky_relu(y + w.make(16))
    return tf.nn.conv2d(y, w.make(1, 1, 16, 4), 1, "SAME", name="third")


def batch_norm(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """A batch norm that folds, with the large channel in its gamma and beta, then max pooling."""
    y = tf.nn.conv2d(x, w.make(3, 3, 6, 8), 1, "SAME", name="first")
    scale, offset, mean = w.make(8, given=0) + 0.5, w.make(8, given=0), w.make(8)
    y = (y - mean) * scale + offset
    y = tf.nn.max_pool2d(tf.nn.relu(y), 2, 2, "VALID")
    return tf.nn.conv2d(y, w.make(3, 3, 8, 4, taken=2), 1, "SAME", name="second")


def fused_batch_norm(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """The op of a batch norm, whose mean is far from zero."""
    y = tf.nn.conv2d(x, w.make(3, 3, 6, 8), 1, "SAME", name="first")
    scale, offset, mean = w.make(8, given=0) + 0.5, w.make(8, given=0), w.make(8) + 2
    variance = np.abs(w.make(8)) + 0.5
    y, *_ = v1.nn.fused_batch_norm(y, scale, offset, mean, variance, is_training=False)
    return tf.nn.conv2d(tf.nn.relu(y), w.make(3, 3, 8, 4, taken=2), 1, "SAME", name="second")


def transposed(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """Two transposed convolutions: [kh, kw, out, in]."""
    shapes = [tf.shape(x)[0], 16, 16, 8], [tf.shape(x)[0], 16, 16, 4]
    y = tf.nn.conv2d_transpose(x, w.make(2, 2, 8, 6, given=2), shapes[0], 2, name="first")
    return tf.nn.conv2d_transpose(
        tf.nn.relu(y), w.make(3, 3, 4, 8, taken=3), shapes[1], 1, name="second"
    )


def dense_behind_flatten(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """A convolution, flattened, a dense layer and another."""
    y = tf.nn.relu(tf.nn.conv2d(x, w.make(3, 3, 6, 8, given=3), 2, "SAME", name="first"))
    weight = w.make(16, 8, 10, taken=1).reshape(128, 10)
    y = tf.nn.relu(tf.matmul(tf.reshape(y, [-1, 128]), weight, name="second"))
    return tf.matmul(y, w.make(10, 5), name="third")


def averaged(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """A mean over the image between a convolution and a dense layer."""
    y = tf.nn.relu(tf.nn.conv2d(x, w.make(3, 3, 6, 8, given=3), 1, "SAME", name="first"))
    return tf.matmul(tf.reduce_mean(y, [1, 2]), w.make(8, 5, taken=0), name="second")


def residual(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """A sum of two layers, which two others take."""
    y = tf.nn.conv2d(x, w.make(1, 1, 6, 8, given=3), 1, "SAME", name="first")
    z = tf.nn.conv2d(x, w.make(3, 3, 6, 8, given=3), 1, "SAME", name="second")
    y = tf.nn.relu(y + z)
    one = tf.nn.conv2d(y, w.make(1, 1, 8, 4, taken=2), 1, "SAME", name="third")
    return one + tf.nn.conv2d(y, w.make(3, 3, 8, 4, taken=2), 1, "SAME", name="fourth")


def concatenated(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """The channels of a layer beside those of the input, which can't be scaled."""
    y = tf.nn.relu(tf.nn.conv2d(x, w.make(3, 3, 6, 8, given=3), 1, "SAME", name="first"))
    weight = np.concatenate([w.make(3, 3, 6, 4), w.make(3, 3, 8, 4, taken=2)], axis=2)
    return tf.nn.conv2d(tf.concat([x, y], -1), weight, 1, "SAME", name="second")


def channels_first(x: tf.Tensor, w: Weights) -> tf.Tensor:
    """NCHW, with a bias that is one number."""
    x = tf.transpose(x, [0, 3, 1, 2])
    options = {"data_format": "NCHW", "padding": "SAME"}
    y = tf.nn.conv2d(x, w.make(3, 3, 6, 8, given=3), 1, name="first", **options)
    y = tf.nn.relu(y + np.full((1, 1, 1), 0.25, np.float32))
    return tf.nn.conv2d(y, w.make(3, 3, 8, 4, taken=2), 1, name="second", **options)


KINDS: tuple[Callable[[tf.Tensor, Weights], tf.Tensor], ...] = (
    conv_pair,
    depthwise_chain,
    batch_norm,
    fused_batch_norm,
    transposed,
    dense_behind_flatten,
    averaged,
    residual,
    concatenated,
    channels_first,
)


def graph_of(kind: Callable[[tf.Tensor, Weights], tf.Tensor]) -> tf.compat.v1.GraphDef:
    """The frozen graph, from "x" to "y"."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 6], "x")
        tf.identity(kind(x, Weights()), name="y")
    return graph.as_graph_def()


def in_float64(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """The same ops on float64."""
    copied = v1.GraphDef.FromString(graph_def.SerializeToString())
    single, double = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum
    for node in copied.node:
        for attribute in node.attr.values():
            if attribute.type == single:
                attribute.type = double
            if attribute.tensor.dtype == single:
                wide = tf.make_ndarray(attribute.tensor).astype(np.float64)
                attribute.tensor.CopyFrom(tf.make_tensor_proto(wide))
    return copied


def run(graph_def: tf.compat.v1.GraphDef, x: np.ndarray = X) -> Any:
    """The value of "y"."""
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run("y:0", {"x:0": x})


def sqnr(found: np.ndarray, wanted: np.ndarray) -> float:
    """Signal over noise in dB."""
    return float(10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum()))


by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def _record(graph_def: tf.compat.v1.GraphDef, target: str = "ascend", **options: bool) -> Record:
    return quantize_post_training(graph_def, ["y"], {"x": X}, target=target, **options)


def _deployed(graph_def: tf.compat.v1.GraphDef, record: Record, target: str) -> np.ndarray:
    rules = getattr(load_registry().exporter(target), "rules", TargetRules())
    return run(simulate_target(simulate(graph_def, ["y"], record), record, rules).graph_def)


@by_kind
def test_the_function_in_float_is_unchanged(kind: Callable[..., tf.Tensor]) -> None:
    """In float64 the two graphs differ by what float32 weights round; names are the same."""
    graph_def = graph_of(kind)
    found = equalized(graph_def, ["y"], {"x": X})
    # TensorFlow's CPU has no kernel in float64 for NCHW and for the op of a batch norm.
    wide = kind not in (channels_first, fused_batch_norm)
    wanted = run(in_float64(graph_def), X.astype(np.float64)) if wide else run(graph_def)
    given = run(in_float64(found), X.astype(np.float64)) if wide else run(found)
    assert np.abs(given - wanted).max() < (1e-6 if wide else 1e-5) * np.abs(wanted).max()
    assert {(n.name, n.op) for n in found.node} <= {(n.name, n.op) for n in graph_def.node}
    assert found != graph_def


@by_kind
@pytest.mark.parametrize("target", ["ascend", "litert"])
def test_a_large_channel_that_is_undone_costs_the_others_nothing(
    kind: Callable[..., tf.Tensor], target: str
) -> None:
    """Without it the output keeps less than 25 dB, with it 5 dB more at least, and 28 dB."""
    graph_def = graph_of(kind)
    wanted = run(graph_def)
    plain = _deployed(graph_def, _record(graph_def, target, equalize=False), target)
    equal = _deployed(graph_def, _record(graph_def, target), target)
    assert sqnr(plain, wanted) < 25
    assert sqnr(equal, wanted) > max(28, sqnr(plain, wanted) + 5)


@pytest.mark.parametrize("target", ["ascend", "litert", "onnx", "mnn"])
def test_every_runtime_returns_the_codes_that_are_meant(target: str, tmp_path: Path) -> None:
    """A record with balances is deployed exactly; the model is the one that the user has."""
    graph_def = graph_of(conv_pair)
    record = parse_record(format_record(_record(graph_def, target)))
    assert record["second"].balance is not None
    exporter = load_registry().exporter(target)
    artifact = exporter.export(graph_def, ["y"], record, tmp_path / "model")
    found = verify(artifact, {"x": X}, layers=True)
    (output,) = found.outputs
    assert output.reference is not None
    assert output.reference.largest <= 1e-3
    assert output.float_model is not None
    assert output.float_model.sqnr is not None
    assert output.float_model.sqnr > 28


def test_layers_that_take_one_value_have_one_balance() -> None:
    """Two layers behind a sum divide by the same numbers, about a hundred for the large one."""
    record = _record(graph_of(residual))
    third, fourth = record["third"].balance, record["fourth"].balance
    assert third is not None
    np.testing.assert_array_equal(third, fourth)
    assert third[1] / np.median(third) > LARGE / 10


def _relu6(x: tf.Tensor, w: Weights) -> tf.Tensor:
    y = tf.nn.relu6(tf.nn.conv2d(x, w.make(3, 3, 6, 8, given=3), 1, "SAME", name="first"))
    return tf.nn.conv2d(y, w.make(3, 3, 8, 4, taken=2), 1, "SAME", name="second")


def _also_an_output(x: tf.Tensor, w: Weights) -> tf.Tensor:
    y = tf.nn.relu(tf.nn.conv2d(x, w.make(3, 3, 6, 8, given=3), 1, "SAME", name="first"))
    z = tf.nn.conv2d(y, w.make(3, 3, 8, 4, taken=2), 1, "SAME", name="second")
    return tf.concat([y, z], -1)


def _also_in_a_sigmoid(x: tf.Tensor, w: Weights) -> tf.Tensor:
    y = tf.nn.conv2d(x, w.make(3, 3, 6, 8, given=3), 1, "SAME", name="first")
    y = y * tf.sigmoid(y)
    return tf.nn.conv2d(y, w.make(3, 3, 8, 4, taken=2), 1, "SAME", name="second")


def _one_size(x: tf.Tensor, w: Weights) -> tf.Tensor:
    y = tf.nn.relu(tf.nn.conv2d(x, w.make(3, 3, 6, 8), 1, "SAME", name="first"))
    return tf.nn.conv2d(y, w.make(3, 3, 8, 4), 1, "SAME", name="second")


@pytest.mark.parametrize("kind", [_relu6, _also_an_output, _also_in_a_sigmoid, _one_size])
def test_nothing_changes_where_it_would_be_inexact_or_no_use(
    kind: Callable[..., tf.Tensor],
) -> None:
    """Behind a Relu6, in an output, in a sigmoid, or where channels are alike: the same record."""
    graph_def = graph_of(kind)
    assert _record(graph_def) == _record(graph_def, equalize=False)


def test_a_layer_that_stays_float_is_not_scaled() -> None:
    """With one layer of a pair skipped, the other has no balance."""
    graph_def = graph_of(conv_pair)
    for skipped in ("first", "second"):
        record = quantize_post_training(graph_def, ["y"], {"x": X}, skip_layers=[skipped])
        assert all(factors.balance is None for factors in record.values())


@pytest.mark.parametrize(
    ("layer", "balance", "said"),
    [
        ("first", [1, 2, 1, 1, 1, 1], "comes from no layer that could be scaled"),
        ("second", [2, 2], r"\(2 values\) of layer \"second\" must have 8"),
        ("second", [0] * 8, "must be above"),
    ],
)
def test_a_balance_that_is_not_possible_is_named(
    layer: str, balance: list[float], said: str
) -> None:
    """A record that wants the input of the model scaled, or too few numbers, is an error."""
    graph_def = graph_of(conv_pair)
    record = _record(graph_def, equalize=False)
    wrong = attrs.evolve(record[layer], balance=balance)
    record = attrs.evolve(record, factors={**record, layer: wrong})
    with pytest.raises(RecordError, match=said):
        simulate(graph_def, ["y"], record)


def test_a_channel_that_comes_from_elsewhere_cannot_be_scaled() -> None:
    """Of channels that are joined, those of the model's input have nothing that divides them."""
    graph_def = graph_of(concatenated)
    record = _record(graph_def, equalize=False)
    wrong = attrs.evolve(record["second"], balance=[2.0] * 14)
    record = attrs.evolve(record, factors={**record, "second": wrong})
    with pytest.raises(RecordError, match="can't be scaled where it comes from"):
        simulate(graph_def, ["y"], record)


def _nearly_dead(x: tf.Tensor, w: Weights) -> tf.Tensor:
    weight = w.make(3, 3, 6, 8, given=3)
    weight[..., 2] *= 1e-20
    y = tf.nn.relu(tf.nn.conv2d(x, weight, 1, "SAME", name="first"))
    return tf.nn.conv2d(y, w.make(3, 3, 8, 4, taken=2), 1, "SAME", name="second")


def test_a_channel_that_is_as_good_as_zero_is_not_blown_up() -> None:
    """Its factor is at most 4,096 times smaller than the largest."""
    balance = _record(graph_of(_nearly_dead))["second"].balance
    assert balance is not None
    assert 100 < balance.max() / balance.min() <= 4096 * 1.001


def test_one_layer_alone_cannot_scale_what_two_take() -> None:
    """The record of two layers behind a sum, without the balance of one, is an error."""
    graph_def = graph_of(residual)
    record = _record(graph_def)
    lacking = attrs.evolve(record["fourth"], balance=None)
    record = attrs.evolve(record, factors={**record, "fourth": lacking})
    with pytest.raises(RecordError, match="has several"):
        balanced_by_record(graph_def, ["y"], record)
