"""What each target rounds besides the inputs of its layers. It imports no TensorFlow.

Sources: the operator table of LiteRT's 8-bit quantisation specification and its kernels, of which
LEAKY_RELU and RESIZE_BILINEAR round more than once and are left out; the kernels of ONNX Runtime,
whose MatMulInteger returns floats; and those of MNN, which averages with floats, and adds the
zero point of the result of a depthwise convolution to its sum.
"""

from __future__ import annotations

from graphquant_core.target_rules import TargetRules
from graphquant_core.value_grid import ValueGrid

DENSE = frozenset({"MatMul"})

SHARES = ValueGrid(1 / 256, -128)
"""0 to 1."""

SIGNED_SHARES = ValueGrid(1 / 128, 0)
"""-1 to 1."""

ASCEND = TargetRules(eight_bits_since="Ascend's integer layers take int8 weights alone")
"""Nothing: AscendDequant returns floats."""

LITERT = TargetRules(
    results=frozenset(
        {"AvgPool", "Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul"}
    ),
    rescaling=frozenset({"Add", "AddV2", "Mean", "Mul", "Sub"}),
    averaging=frozenset({"Relu", "Relu6"}),
    fixed={"Sigmoid": SHARES, "Softmax": SHARES, "Tanh": SIGNED_SHARES},
    unit_scales=DENSE,
    eight_bits_since="LiteRT's kernels for int4 weights round each result twice, which leaves some "
    "a code off",
)
"""Results of layers, and of what stands between them."""

ONNX = TargetRules(
    results=frozenset(
        {"AvgPool", "Conv2D", "Conv2DBackpropInput", "Conv3D", "DepthwiseConv2dNative"}
    ),
    unit_scales=DENSE,
    eight_bits_since="ONNX Runtime's integer layers take 8-bit weights alone, and layers of int4 "
    "weights compute with floats",
)
"""Results of layers; anything else computes with the floats behind DequantizeLinear."""

MNN = TargetRules(
    results=frozenset({"Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul"}),
    summed_zero_points=frozenset({"DepthwiseConv2dNative"}),
    ties_away=True,
    unit_scales=DENSE,
    eight_bits_since="MNN's converter stores the weights of int8 layers in 8 bits",
)
"""Results of layers, whose grids are kept away from what its runtime would hand them to."""
