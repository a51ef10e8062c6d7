"""The built-in layer handlers, registered as a plugin like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.handlers.avg_pool import AvgPoolHandler
from graphquant_core.handlers.conv2d import Conv2DHandler
from graphquant_core.handlers.conv2d_backprop_input import Conv2DBackpropInputHandler
from graphquant_core.handlers.depthwise_conv2d_native import DepthwiseConv2dNativeHandler
from graphquant_core.handlers.matmul import MatMulHandler
from graphquant_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from graphquant_core.handler import LayerHandler


@hookimpl
def graphquant_layer_handlers() -> list[LayerHandler]:
    """MatMul, Conv2D, DepthwiseConv2dNative, Conv2DBackpropInput and AvgPool."""
    return [
        MatMulHandler(),
        Conv2DHandler(),
        DepthwiseConv2dNativeHandler(),
        Conv2DBackpropInputHandler(),
        AvgPoolHandler(),
    ]
