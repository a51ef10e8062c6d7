"""Which ops MNN quantises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tensorflow as tf

from graphquant_export.targets.mnn.layers import plan_for_mnn

v1 = tf.compat.v1


def _image(channels: int = 4) -> tf.Tensor:
    return v1.placeholder(tf.float32, [1, 8, 8, channels])


def _nchw() -> tf.Tensor:
    return tf.nn.conv2d(_image(), tf.ones([3, 3, 8, 2]), 1, "SAME", data_format="NCHW")


def _explicit() -> tf.Tensor:
    pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
    return tf.nn.conv2d(_image(), tf.ones([3, 3, 4, 2]), 1, pads)


def _depthwise(channels: int, multiplier: int) -> tf.Tensor:
    weight = tf.ones([3, 3, channels, multiplier])
    return v1.nn.depthwise_conv2d_native(_image(channels), weight, [1, 1, 1, 1], "SAME")


def _left() -> tf.Tensor:
    return tf.matmul(tf.ones([5, 4]), v1.placeholder(tf.float32, [4, 2]))


def _transposed_activation() -> tf.Tensor:
    return tf.matmul(v1.placeholder(tf.float32, [4, 2]), tf.ones([4, 5]), transpose_a=True)


def _half() -> tf.Tensor:
    return tf.matmul(v1.placeholder(tf.float16, [2, 4]), tf.ones([4, 5], tf.float16))


def _in_a_cond() -> tf.Tensor:
    x = v1.placeholder(tf.float32, [2, 4])
    v1.disable_control_flow_v2()
    try:
        return v1.cond(tf.reduce_sum(x) > 0, lambda: tf.matmul(x, tf.ones([4, 4])), lambda: x)
    finally:
        v1.enable_control_flow_v2()


SKIPS: dict[str, tuple[Callable[[], tf.Tensor], str]] = {
    "nchw": (_nchw, "data_format (NCHW)"),
    "explicit padding": (_explicit, "padding (EXPLICIT)"),
    "multiplier": (lambda: _depthwise(4, 2), "channel multiplier (2)"),
    "one channel": (lambda: _depthwise(1, 1), "one input channel"),
    "weight on the left": (_left, "does not depend on the inputs"),
    "transpose_a": (_transposed_activation, "transpose_a (True)"),
    "half precision": (_half, "float16"),
    "cond": (_in_a_cond, "while loop or a cond"),
}


@pytest.mark.parametrize("case", SKIPS)
def test_what_mnn_does_not_quantise_or_gets_wrong_is_a_skip(case: str) -> None:
    """The reason names what is in the way."""
    build, reason = SKIPS[case]
    with tf.Graph().as_default() as graph:
        build()
    plan = plan_for_mnn(graph)
    assert not plan.layers
    assert reason in "; ".join(skip.reason for skip in plan.skips)


def test_a_layer_without_weight_is_no_row() -> None:
    """Pooling has nothing to quantise here."""
    with tf.Graph().as_default() as graph:
        tf.nn.avg_pool2d(_image(), 2, 2, "SAME")
    assert plan_for_mnn(graph).rows == ()


def test_a_transposed_weight_has_its_channels_on_the_first_axis() -> None:
    """MatMul with transpose_b is a layer for MNN."""
    with tf.Graph().as_default() as graph:
        tf.matmul(v1.placeholder(tf.float32, [2, 4]), tf.ones([7, 4]), transpose_b=True, name="mm")
    layer = plan_for_mnn(graph).layer("mm")
    assert (layer.weight_channel_axes, layer.output_channels) == ((0,), 7)
