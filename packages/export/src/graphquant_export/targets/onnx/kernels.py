"""Which kernel ONNX Runtime runs a layer with, read from the model that it optimised."""

from __future__ import annotations

import onnx

from graphquant_export.targets.onnx.model_file import ModelView

_RESULT_GRIDS = {
    "QGemm": 7,
    "QLinearAveragePool": 3,
    "QLinearConcat": 0,
    "QLinearConv": 6,
    "QLinearGlobalAveragePool": 3,
    "QLinearMatMul": 6,
}
"""Which input is the scale of the result, by type of kernel; the next one is its zero point."""


def integer_kernel(optimized: ModelView, layer: str) -> onnx.NodeProto | None:
    """The node that sums the integers of `layer`; ``None`` when ONNX Runtime sums floats.

    An integer kernel takes the stored codes themselves, or ONNX Runtime's copy of them as uint8;
    a float one takes what DequantizeLinear makes of them. A layer without weight keeps its name.

    Args:
        optimized: The model that ONNX Runtime runs.
        layer: Name of the layer.
    """
    names = (f"{layer}/weight", f"{layer}/weight_s8_2_u8")
    takers = [node for name in names for node in optimized.takers(name)]
    kernels = [node for node in takers if node.op_type != "DequantizeLinear"]
    if kernels:
        return min(kernels, key=lambda node: node.op_type)
    node = optimized.nodes.get(layer)
    return node if node is not None and node.op_type.startswith("QLinear") else None


def result_grid(optimized: ModelView, kernel: onnx.NodeProto) -> tuple[str, str] | None:
    """What the scale and the zero point of the codes that `kernel` returns are stored as.

    ``None`` when it returns floats.
    """
    port = _RESULT_GRIDS.get(kernel.op_type)
    if port is None or len(kernel.input) < port + 2:
        return None
    scale, zero_point = kernel.input[port : port + 2]
    stored = scale in optimized.stored and zero_point in optimized.stored
    return (scale, zero_point) if stored else None
