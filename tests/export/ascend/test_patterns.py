"""Patterns of several nodes that the compiler matches, and that they compute the same."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import LayerFactors, Record
from graphquant_export.integer_reference import integer_reference
from graphquant_export.quantized import model, quantize_inputs
from graphquant_export.targets.ascend import compiler, deploy, quantize_graph

v1 = tf.compat.v1

OUTPUTS = ["y"]


def frozen(build: Callable[[tf.Tensor], tf.Tensor], shape: list[int | None]) -> v1.GraphDef:
    """The graph of ``y = build(x)`` with the placeholder x."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(v1.placeholder(tf.float32, shape, name="x")), name="y")
    return graph.as_graph_def()


def value(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def factors(channels: int, scale_d: float = 0.021, offset_d: int = -9) -> LayerFactors:
    return LayerFactors(scale_d, offset_d, np.linspace(0.008, 0.013, channels))


def by_name(graph_def: v1.GraphDef) -> dict[str, v1.NodeDef]:
    return {node.name: node for node in graph_def.node}


@pytest.fixture
def layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., v1.GraphDef]:
    """The quantised graph with each layer for itself, nothing moved over its neighbours."""

    def quantize(*arguments: object) -> v1.GraphDef:
        with monkeypatch.context() as patch:
            patch.setattr(model, "_in_use", {})
            patch.setattr(model, "find_groups", lambda *_: [])
            patch.setattr(deploy, "open_relu6", lambda *_: None)
            patch.setattr(quantize_inputs, "_padded", lambda _: False)
            return quantize_graph(*arguments)[0]

    return quantize


@pytest.fixture
def assert_same(run, layer_by_layer) -> Callable[..., None]:
    """Both quantised graphs give the same bits, and so do the exact integers."""

    def check(model, record, quantized, *shape):
        x = np.random.default_rng(7).normal(0, 3, shape).astype(np.float32)
        (found,) = run(quantized, OUTPUTS, {"x:0": x})
        before = layer_by_layer(model, OUTPUTS, record)
        assert list(before.node) != list(quantized.node)
        (expected,) = run(before, OUTPUTS, {"x:0": x})
        (exact,) = integer_reference(quantized, OUTPUTS, {"x": x})
        assert np.ptp(expected) > 1
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(found, exact)

    return check


def grouped(layout="NHWC", bias=(True, True), concat="ConcatV2", order=(0, 1)):
    """A convolution in two groups, with different numbers of channels."""
    axis = layout.index("C")

    def build(x):
        with v1.name_scope("g"):
            parts = tf.split(x, 2, axis=axis, name="split")
            done = []
            for index, part in enumerate(parts):
                y = tf.nn.conv2d(
                    part, value(3, 3, 4, 3 + index), 1, "SAME", layout, name=f"conv{index}"
                )
                if bias[index]:
                    y = tf.nn.bias_add(y, value(3 + index) * 4, layout)
                done.append(y)
            done = [done[index] for index in order]
            if concat == "Concat":
                y = tf.raw_ops.Concat(concat_dim=axis, values=done, name="concat")
            else:
                y = tf.concat(done, axis, name="concat")
            return tf.nn.relu(y)

    return frozen(build, [2, 5, 6, 8] if layout == "NHWC" else [2, 8, 5, 6])


def group_record(scale_d=(0.021, 0.021), offset_d=(-9, -9)):
    return Record({f"g/conv{i}": factors(3 + i, scale_d[i], offset_d[i]) for i in range(2)})


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    ("bias", "concat", "order"),
    [
        ((True, True), "ConcatV2", (0, 1)),
        ((False, True), "Concat", (0, 1)),
        ((True, False), "ConcatV2", (1, 0)),
    ],
)
def test_a_group_convolution_is_quantised_as_one(assert_same, layout, bias, concat, order):
    """AscendQuant -> Split -> {Conv2D -> [BiasAdd]}* -> Concat -> AscendDequant, bit for bit."""
    model, record = grouped(layout, bias, concat, order), group_record()
    quantized, layers = quantize_graph(model, OUTPUTS, record)
    nodes = by_name(quantized)
    types = [node.op for node in quantized.node]
    assert types.count("AscendQuant") == types.count("AscendDequant") == 1
    assert types.count("AscendWeightQuant") == 2
    assert nodes["g/split"].input[1] == "g/act_quant/AscendQuant"
    assert list(nodes["g/act_quant/AscendQuant"].input) == ["x"]
    joined = nodes["g/concat"].input[1:] if concat == "Concat" else nodes["g/concat"].input[:2]
    for index, source in zip(order, joined, strict=True):
        if bias[index]:
            assert nodes[source].op == "BiasAdd"
            assert nodes[source].input[0] == f"g/conv{index}"
        assert nodes[f"g/conv{index}"].input[0] == ("g/split", "g/split:1")[index]
    dequant = nodes["g/dequant/AscendDequant"]
    assert dequant.input[0] == "g/concat"
    bits = tf.make_ndarray(nodes[dequant.input[1]].attr["value"].tensor)
    scales = [np.float32(0.021) * record[f"g/conv{index}"].scale_w for index in order]
    np.testing.assert_array_equal(bits.astype(np.uint32).view(np.float32), np.concatenate(scales))
    assert {layer.dequant for layer in layers} == {dequant.name}
    assert [layer.name for layer in layers] == ["g/conv0", "g/conv1"]
    assert_same(model, record, quantized, *((2, 5, 6, 8) if layout == "NHWC" else (2, 8, 5, 6)))


def test_one_weight_scale_of_a_group_counts_for_all_its_channels(assert_same):
    """A member with one scale_w has it repeated in the common deq_scale."""
    model = grouped()
    record = Record({"g/conv0": LayerFactors(0.021, -9, [0.01]), "g/conv1": factors(4)})
    quantized, _ = quantize_graph(model, OUTPUTS, record)
    bits = tf.make_ndarray(by_name(quantized)["g/dequant/deq_scale"].attr["value"].tensor)
    assert bits.shape == (7,)
    assert_same(model, record, quantized, 2, 5, 6, 8)


def test_an_output_that_joins_a_group_keeps_its_name(run, layer_by_layer):
    """A Concat that is an output of the model carries the dequantised value."""
    model, record = grouped(), group_record()
    quantized, _ = quantize_graph(model, ["g/concat"], record)
    x = value(2, 5, 6, 8)
    (found,) = run(quantized, ["g/concat"], {"x:0": x})
    (expected,) = run(layer_by_layer(model, ["g/concat"], record), ["g/concat"], {"x:0": x})
    np.testing.assert_array_equal(found, expected)


def untouched(model, record):
    """Whether the export leaves the groups of `model` layer by layer."""
    quantized, layers = quantize_graph(model, OUTPUTS, record)
    assert len({layer.dequant for layer in layers}) == len(layers)
    return quantized


@pytest.mark.parametrize(
    "record",
    [
        group_record(scale_d=(0.021, 0.022)),
        group_record(offset_d=(-9, -10)),
        Record({"g/conv1": factors(4)}),
    ],
    ids=["scales", "offsets", "one float"],
)
def test_members_with_factors_of_their_own_are_deployed_each_for_itself(record):
    """A group whose members differ, or are not all in the record, keeps its float Split."""
    quantized = untouched(grouped(), record)
    assert by_name(quantized)["g/split"].input[1] == "x"


def between_split_and_concat(case):
    """Two convolutions of the halves of x, which are no group for the reason `case`."""

    def build(x):
        axis = 1 if case == "rows" else 3
        count = 3 if case == "part taken elsewhere" else 2
        parts = tf.split(x, count, axis=axis, name="g/split")
        channels = int(parts[0].shape[3])
        done = [
            tf.nn.conv2d(part, value(3, 3, channels, 4), 1, "SAME", name=f"g/conv{index}")
            for index, part in enumerate(parts[:2])
        ]
        if case == "squeezed":
            return tf.concat([tf.nn.bias_add(tf.squeeze(y, [1]), value(4)) for y in done], -1)
        joined = tf.concat(done, axis)
        if case == "part taken twice":
            return joined + tf.reduce_mean(parts[0])
        if case == "part taken elsewhere":
            return joined + tf.reduce_mean(parts[2])
        if case == "result taken twice":
            return joined + tf.reduce_mean(done[1])
        if case == "joined with more":
            return tf.concat([*done, x], 3)
        return joined if case != "added" else done[0] + done[1]

    return frozen(build, [1, 1, 4, 24] if case == "squeezed" else [1, 4, 4, 24])


@pytest.mark.parametrize(
    "case",
    [
        "part taken twice",
        "part taken elsewhere",
        "result taken twice",
        "joined with more",
        "rows",
        "added",
        "squeezed",
    ],
)
def test_what_only_looks_like_a_group_is_deployed_layer_by_layer(case):
    """Whoever else takes a part or a result keeps getting float values."""
    record = Record({"g/conv0": factors(4), "g/conv1": factors(4)})
    untouched(between_split_and_concat(case), record)


PADS = [[0, 0], [1, 2], [2, 1], [0, 0]]


def padded_conv(x, name="c/conv", pads=None):
    y = tf.pad(x, PADS if pads is None else pads, name="c/pad")
    return tf.nn.conv2d(y, value(3, 3, 4, 5), 2, "VALID", name=name)


@pytest.mark.parametrize("offset_d", [-128, 40])
def test_a_pad_is_quantised_before_it_pads(assert_same, offset_d):
    """AscendQuant -> Pad -> Conv2D: padding with 0.0 gives the same bits on either side."""
    model = frozen(lambda x: tf.nn.bias_add(padded_conv(x), value(5)), [None, 6, 6, 4])
    record = Record({"c/conv": factors(5, offset_d=offset_d)})
    quantized, _ = quantize_graph(model, OUTPUTS, record)
    nodes = by_name(quantized)
    assert nodes["c/conv"].input[0] == "c/pad"
    assert nodes["c/pad"].input[0] == "c/act_quant/AscendQuant"
    assert nodes["c/act_quant/AscendQuant"].input[0] == "x"
    assert_same(model, record, quantized, 2, 6, 6, 4)


def test_a_pad_that_others_take_stays_float_for_them(assert_same):
    """Layers with one scale share a padded copy of the codes; the Pad itself stays as it was."""

    def build(x):
        first = padded_conv(x, "c/one")
        pad = first.op.inputs[0]
        second, third = (
            tf.nn.conv2d(pad, value(3, 3, 4, 5), 2, "VALID", name=f"c/{name}")
            for name in ("two", "three")
        )
        return first + second + third + tf.reduce_sum(pad)

    model = frozen(build, [1, 6, 6, 4])
    record = Record({"c/one": factors(5), "c/two": factors(5), "c/three": factors(5, scale_d=0.05)})
    quantized, _ = quantize_graph(model, OUTPUTS, record)
    nodes = by_name(quantized)
    assert nodes["c/pad"].input[0] == "x"
    assert [nodes[f"c/{name}"].input[0] for name in ("one", "two", "three")] == [
        "c/act_quant/Pad",
        "c/act_quant/Pad",
        "c/act_quant_1/Pad",
    ]
    assert [node.op for node in quantized.node].count("AscendQuant") == 2
    assert_same(model, record, quantized, 1, 6, 6, 4)


def test_a_pad_that_is_an_output_keeps_its_value(run):
    """The output is the padded float tensor, the layer takes a padded copy of the codes."""
    model = frozen(padded_conv, [1, 6, 6, 4])
    quantized, _ = quantize_graph(model, ["y", "c/pad"], Record({"c/conv": factors(5)}))
    x = value(1, 6, 6, 4)
    (padded,) = run(quantized, ["c/pad"], {"x:0": x})
    np.testing.assert_array_equal(padded, np.pad(x, PADS))


@pytest.mark.parametrize("case", ["ones", "mirror", "pooling"])
def test_other_pads_stay_before_the_quantiser(case):
    """A Pad with other values than zero, or before a pooling, is quantised after it."""

    def build(x):
        if case == "ones":
            y = tf.pad(x, PADS, constant_values=1.0)
        else:
            y = tf.pad(x, PADS, mode="REFLECT" if case == "mirror" else "CONSTANT")
        if case == "pooling":
            return tf.nn.avg_pool2d(y, 2, 2, "VALID", name="layer")
        return tf.nn.conv2d(y, value(3, 3, 4, 5), 2, "VALID", name="layer")

    record = Record({"layer": LayerFactors(0.02, 0) if case == "pooling" else factors(5)})
    quantized, _ = quantize_graph(frozen(build, [1, 6, 6, 4]), OUTPUTS, record)
    nodes = by_name(quantized)
    quant = nodes[nodes["layer"].input[0]]
    assert quant.op == "AscendQuant"
    assert "Pad" in nodes[quant.input[0]].op


def after_relu6(between=lambda x: x, more=lambda y, _: y):
    def build(x):
        activated = tf.nn.relu6(x, name="c/relu6")
        y = tf.nn.conv2d(between(activated), value(1, 1, 4, 5), 1, "SAME", name="c/conv")
        return more(y, activated)

    return frozen(build, [1, 9, 9, 4])


@pytest.mark.parametrize(
    ("scale_d", "offset_d", "opened"),
    [(6 / 255, -128, True), (0.02, -128, True), (0.05, 10, True), (0.0236, -128, False)],
)
def test_a_relu6_that_the_quantiser_saturates_becomes_relu(
    run, layer_by_layer, scale_d, offset_d, opened
):
    """Where (127 - offset_d) * scale_d <= 6, Relu6 is Relu, and the result has the same bits."""
    model = after_relu6()
    record = Record({"c/conv": factors(5, scale_d, offset_d)})
    quantized, _ = quantize_graph(model, OUTPUTS, record)
    assert by_name(quantized)["c/relu6"].op == ("Relu" if opened else "Relu6")
    x = np.linspace(-3, 12, 324, dtype=np.float32).reshape(1, 9, 9, 4)
    (found,) = run(quantized, OUTPUTS, {"x:0": x})
    (expected,) = run(layer_by_layer(model, OUTPUTS, record), OUTPUTS, {"x:0": x})
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("offset_d", [-128, -57, 0, 100])
def test_relu6_may_be_opened_for_every_scale_that_the_rule_allows(offset_d):
    """round(6 / scale_d) reaches the highest code for each float32 scale up to 6 / (127 - o)."""
    steps = 127 - offset_d
    scale_d = np.float32(6) / np.float32(steps)
    for _ in range(50):
        candidate = LayerFactors(float(scale_d), offset_d)
        if compiler._ends_below_6(candidate):
            assert np.rint(np.float32(6) * (np.float32(1) / scale_d)) >= steps
        scale_d = np.nextafter(scale_d, np.float32(1))
    assert not compiler._ends_below_6(candidate)


def test_a_relu6_before_a_padded_layer_becomes_relu(assert_same):
    """The AscendQuant that moved before the Pad stands right behind the activation."""
    model = after_relu6(lambda x: tf.pad(x, PADS))
    record = Record({"c/conv": factors(5, 0.02, -128)})
    quantized, _ = quantize_graph(model, OUTPUTS, record)
    assert by_name(quantized)["c/relu6"].op == "Relu"
    assert_same(model, record, quantized, 1, 9, 9, 4)


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        (after_relu6(lambda x: tf.nn.max_pool2d(x, 1, 1, "SAME")), ["y"]),
        (after_relu6(more=lambda y, activated: y + tf.reduce_mean(activated)), ["y"]),
        (after_relu6(), ["y", "c/relu6"]),
    ],
    ids=["pool between", "second consumer", "output"],
)
def test_a_relu6_that_something_else_sees_stays(model, outputs):
    """MaxPool, another consumer and an output of the model get values up to 6."""
    record = Record({"c/conv": factors(5, 0.02, -128)})
    quantized, _ = quantize_graph(model, outputs, record)
    assert by_name(quantized)["c/relu6"].op == "Relu6"


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "reason"),
    [
        (8, [1, 2], 1, None),
        (40, [19, 19], 1, None),
        (300, [1, 255], 1, None),
        (70, [2, 2], 63, None),
        (8, [8, 1], 1, None),
        (8, [1, 8], 1, "width 1"),
        (300, [1, 256], 1, "1 x 256"),
        (40, [20, 20], 1, "20 x 20"),
        (200, [2, 2], 64, "strides (64, 64)"),
    ],
)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_an_average_pooling_that_falls_back_to_float_is_named(
    caplog, size, kernel, stride, reason, layout
):
    """A warning with the layer and the reason, exactly where the compiler's rules say so."""
    shape = [1, size, size, 2] if layout == "NHWC" else [1, 2, size, size]
    model = frozen(
        lambda x: tf.nn.avg_pool2d(x, kernel, stride, "VALID", layout, name="p/pool"), shape
    )
    with caplog.at_level(logging.WARNING):
        quantize_graph(model, OUTPUTS, Record({"p/pool": LayerFactors(0.02, 0)}))
    warnings = [line for line in caplog.messages if '"p/pool"' in line]
    assert [reason in line for line in warnings] == ([] if reason is None else [True])


def test_constant_sizes_of_a_transposed_convolution_stay(run):
    """Conv2DBackpropInput takes (Const sizes, AscendWeightQuant, AscendQuant), then a BiasAdd."""

    def build(x):
        y = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=[2, 8, 8, 3],
            filter=value(2, 2, 3, 4),
            out_backprop=x,
            strides=[1, 2, 2, 1],
            padding="SAME",
            name="u/up",
        )
        return tf.nn.bias_add(y, value(3))

    model = frozen(build, [2, 4, 4, 4])
    quantized, _ = quantize_graph(model, OUTPUTS, Record({"u/up": factors(3)}))
    nodes = by_name(quantized)
    assert [nodes[name].op for name in nodes["u/up"].input] == [
        "Const",
        "AscendWeightQuant",
        "AscendQuant",
    ]
    assert nodes["u/bias_quant/BiasAdd"].input[0] == "u/up"
    x = np.random.default_rng(0).uniform(-2, 2, (2, 4, 4, 4)).astype(np.float32)
    (before,) = run(model, OUTPUTS, {"x:0": x})
    (after,) = run(quantized, OUTPUTS, {"x:0": x})
    assert np.abs(before - after).max() < 0.05 * np.abs(before).max()
