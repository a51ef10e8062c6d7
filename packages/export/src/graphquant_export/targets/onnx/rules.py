"""What ONNX Runtime rounds: the results of its integer kernels for layers.

MatMulInteger returns floats. Whatever isn't a layer computes with the floats behind
DequantizeLinear.
"""

from __future__ import annotations

from graphquant_core.target_rules import TargetRules

RULES = TargetRules(
    results=frozenset(
        {"AvgPool", "Conv2D", "Conv2DBackpropInput", "Conv3D", "DepthwiseConv2dNative"}
    )
)
