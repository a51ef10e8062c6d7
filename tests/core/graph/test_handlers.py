"""The built-in handlers describe their ops truly, and skip what cannot be quantised."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings

from graphquant_core import handlers
from graphquant_core.layer import Layer, Skip
from graphquant_core.testing import check_handler
from graphquant_core.testing.graphs import GraphSpec, LayerSpec, build_graph, graph_specs

v1 = tf.compat.v1
HANDLERS = {handler.name: handler for handler in handlers.graphquant_layer_handlers()}


def image(channels: int = 4, data_format: str = "NHWC") -> tf.Tensor:
    shape = [2, 6, 6, channels] if data_format == "NHWC" else [2, channels, 6, 6]
    return v1.placeholder(tf.float32, shape)


def filters(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)


@settings(max_examples=15)
@given(graph_specs())
def test_every_description_is_bilinear_and_names_the_right_axes(spec: GraphSpec) -> None:
    """f(x, w * s over the weight's channel axes) = f(x, w) * s along the output's channel axis."""
    built = build_graph(spec)
    types = {op.type for op in built.graph.get_operations()}
    described = [
        layer.name
        for handler in HANDLERS.values()
        if handler.op_types & types
        for layer in check_handler(handler, built.graph)
    ]
    assert sorted(described) == sorted(built.layers)


@pytest.mark.parametrize("op_type", ["Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput"])
def test_channels_first_is_described_on_axis_1(op_type: str) -> None:
    """NCHW: the same weight axes, and output channels on axis 1."""
    graph = tf.Graph()
    with graph.as_default():
        x = image(data_format="NCHW")
        if op_type == "Conv2D":
            tf.nn.conv2d(x, filters(3, 3, 4, 5), 1, "SAME", data_format="NCHW")
        elif op_type == "DepthwiseConv2dNative":
            tf.nn.depthwise_conv2d(x, filters(3, 3, 4, 2), [1, 1, 1, 1], "SAME", data_format="NCHW")
        else:
            tf.nn.conv2d_transpose(
                x, filters(2, 2, 3, 4), [2, 3, 12, 12], [1, 1, 2, 2], data_format="NCHW"
            )
    (layer,) = check_handler(HANDLERS[op_type], graph)
    assert (layer.output_channel_axis, layer.data_format) == (1, "NCHW")


def test_average_pool_has_no_weight() -> None:
    """AvgPool is linear in its activation alone."""
    graph = tf.Graph()
    with graph.as_default():
        tf.nn.avg_pool2d(image(), 2, 2, "VALID")
    (layer,) = check_handler(HANDLERS["AvgPool"], graph)
    assert (layer.weight_port, layer.output_channels, layer.fan_in) == (None, None, None)


def test_a_matmul_with_a_transposed_side_is_skipped_with_its_name() -> None:
    """transpose_a and transpose_b each name themselves in the reason."""
    for side in ("transpose_a", "transpose_b"):
        with tf.Graph().as_default():
            x = v1.placeholder(tf.float32, [4, 4])
            op = tf.matmul(x, filters(4, 4), **{side: True}).op
            described = HANDLERS["MatMul"].describe(op)
        assert isinstance(described, Skip)
        assert side in described.reason


def test_a_dilated_transposed_convolution_is_skipped() -> None:
    """Dilations other than 1 stand in the reason."""
    with tf.Graph().as_default():
        op = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=[2, 12, 12, 3],
            filter=filters(2, 2, 3, 4),
            out_backprop=image(),
            strides=[1, 1, 1, 1],
            padding="SAME",
            dilations=[1, 2, 2, 1],
        ).op
        described = HANDLERS["Conv2DBackpropInput"].describe(op)
    assert isinstance(described, Skip)
    assert "[1, 2, 2, 1]" in described.reason


@pytest.mark.parametrize(("channels", "advised"), [(16, True), (17, False)])
def test_few_input_channels_are_advice_and_no_skip(channels: int, advised: bool) -> None:
    """16 input channels or fewer: quantised all the same, with advice."""
    with tf.Graph().as_default():
        op = tf.nn.conv2d(image(channels), filters(1, 1, channels, 2), 1, "SAME").op
        described = HANDLERS["Conv2D"].describe(op)
    assert isinstance(described, Layer)
    assert bool(described.advice) == advised


def test_a_wrong_channel_axis_is_found_by_check_handler() -> None:
    """check_handler fails on a handler that names the input channels as output channels."""

    class WrongAxis(handlers.Conv2DHandler):
        def describe(self, op: tf.Operation) -> Layer | Skip:
            layer = super().describe(op)
            assert isinstance(layer, Layer)
            return Layer(**{**_fields(layer), "weight_channel_axes": (2,)})

    graph = tf.Graph()
    with graph.as_default():
        tf.nn.conv2d(image(4), filters(3, 3, 4, 4), 1, "SAME")
    with pytest.raises(AssertionError, match="weight_channel_axes"):
        check_handler(WrongAxis(), graph)


def test_a_wrong_input_axis_is_found_by_check_handler() -> None:
    """check_handler fails on a handler that names the output channels as input channels."""

    class WrongAxis(handlers.Conv2DHandler):
        def describe(self, op: tf.Operation) -> Layer | Skip:
            layer = super().describe(op)
            assert isinstance(layer, Layer)
            return Layer(**{**_fields(layer), "weight_input_axis": 3})

    graph = tf.Graph()
    with graph.as_default():
        tf.nn.conv2d(image(4), filters(3, 3, 4, 4), 1, "SAME")
    with pytest.raises(AssertionError, match="weight_input_axis 3 doesn't match"):
        check_handler(WrongAxis(), graph)


def _fields(layer: Layer) -> dict[str, object]:
    return {name: getattr(layer, name) for name in Layer.__slots__ if not name.startswith("__")}


def test_fan_in_counts_the_products_of_one_output() -> None:
    """A 3x3 filter over 4 channels sums 36 products; a depthwise one sums 9."""
    built = build_graph(
        GraphSpec(
            6, 3, (LayerSpec("DepthwiseConv2dNative", 1, 3, 1, "none", "none", "none"),), 2,
            "constant", 0,
        )
    )  # fmt: skip
    (layer,) = check_handler(HANDLERS["DepthwiseConv2dNative"], built.graph)
    assert (layer.output_channels, layer.fan_in) == (6, 9)
