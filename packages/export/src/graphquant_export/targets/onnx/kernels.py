"""Which kernel ONNX Runtime runs a layer with, read from the model that it optimised."""

from __future__ import annotations

from graphquant_export.targets.onnx.model_file import ModelView


def integer_kernel(optimized: ModelView, layer: str) -> str | None:
    """Type of the op that sums the integers of `layer`; ``None`` when ONNX Runtime sums floats.

    An integer kernel takes the stored codes themselves, or ONNX Runtime's copy of them as uint8;
    a float one takes what DequantizeLinear makes of them. A layer without weight keeps its name.

    Args:
        optimized: The model that ONNX Runtime runs.
        layer: Name of the layer.
    """
    names = (f"{layer}/weight", f"{layer}/weight_s8_2_u8")
    takers = {node.op_type for name in names for node in optimized.takers(name)}
    if takers - {"DequantizeLinear"}:
        return min(takers - {"DequantizeLinear"})
    node = optimized.nodes.get(layer)
    return node.op_type if node is not None and node.op_type.startswith("QLinear") else None
