"""What Ascend rounds besides the inputs of layers: nothing, AscendDequant returns floats."""

from __future__ import annotations

from graphquant_core.target_rules import TargetRules

RULES = TargetRules()
