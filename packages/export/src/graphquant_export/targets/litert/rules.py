"""What LiteRT rounds: the results of its integer kernels.

Source: the operator table of LiteRT's 8-bit quantisation specification.
"""

from __future__ import annotations

from graphquant_core.target_rules import TargetRules
from graphquant_core.value_grid import ValueGrid

SHARES = ValueGrid(1 / 256, -128)
"""0 to 1."""

SIGNED_SHARES = ValueGrid(1 / 128, 0)
"""-1 to 1."""

RULES = TargetRules(
    results=frozenset(
        {"AvgPool", "Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul"}
    ),
    rescaling=frozenset({"Add", "AddV2", "Mean", "Mul", "Sub"}),
    averaging=frozenset({"Relu", "Relu6"}),
    fixed={"Sigmoid": SHARES, "Softmax": SHARES, "Tanh": SIGNED_SHARES},
)
