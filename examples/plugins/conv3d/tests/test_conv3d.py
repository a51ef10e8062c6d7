"""Conv3D as graphquant sees it."""

from __future__ import annotations

import tensorflow as tf
from graphquant_conv3d import Conv3DHandler

from graphquant_core import Layer
from graphquant_core.testing import check_handler


def test_the_description_is_true() -> None:
    """The op is linear in both ports, and the axes that the handler gives are its channels."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4, 6, 6, 3], "x")
        weight = tf.compat.v1.get_variable("weight", [3, 3, 3, 3, 8])
        tf.nn.conv3d(x, weight, [1, 1, 2, 2, 1], "SAME", name="conv")
    (layer,) = check_handler(Conv3DHandler(), graph)
    assert isinstance(layer, Layer)
    assert (layer.name, layer.output_channels, layer.fan_in) == ("conv", 8, 81)
