"""Export to ONNX, quantised by QuantizeLinear and DequantizeLinear. Its names import TensorFlow.

Raises:
    MissingDependencyError: On import, when the wheels onnx or tf2onnx are not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.lazy_names import lazy_names
from graphquant_export.targets.onnx.wheels import require

if TYPE_CHECKING:
    from graphquant_export.targets.onnx.artifact import OnnxArtifact
    from graphquant_export.targets.onnx.export import export_onnx, open_onnx
    from graphquant_export.targets.onnx.runtime import OnnxRuntime
    from graphquant_export.targets.onnx.sessions import session_config
    from graphquant_export.targets.onnx.weights import export_onnx_weights

__all__ = [
    "OnnxArtifact",
    "OnnxRuntime",
    "export_onnx",
    "export_onnx_weights",
    "open_onnx",
    "session_config",
]

for _wheel in ("onnx", "tf2onnx"):
    require(_wheel)

__getattr__ = lazy_names(
    __name__,
    {
        "OnnxArtifact": ".artifact",
        "OnnxRuntime": ".runtime",
        "export_onnx": ".export",
        "export_onnx_weights": ".weights",
        "open_onnx": ".export",
        "session_config": ".sessions",
    },
)
