"""Export to ONNX, quantised by QuantizeLinear and DequantizeLinear. It imports TensorFlow.

Raises:
    MissingDependencyError: On import, when the wheels onnx or tf2onnx are not installed.
"""

from __future__ import annotations

from graphquant_export.onnx.wheels import require

for _wheel in ("onnx", "tf2onnx"):
    require(_wheel)
