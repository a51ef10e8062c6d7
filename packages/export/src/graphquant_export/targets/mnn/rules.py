"""What MNN rounds: the results of its integer kernels for layers.

It averages with floats, and quantises the weight of a transposed convolution only. Grids that its
runtime would hand on to other ops are kept away from them.
"""

from __future__ import annotations

from graphquant_core.target_rules import TargetRules

RULES = TargetRules(results=frozenset({"Conv2D", "DepthwiseConv2dNative", "MatMul"}))
