"""Conversion to MNN: compression parameters, the real converter, and what it made of a weight.

What looks into a graph stands in modules of its own, which import TensorFlow: `layers`,
`op_names`, `quantized_layers`, `verify`, `mnn_runtime` and the room `int8`.
"""

from __future__ import annotations

from graphquant_export.quantized.weight_codes import MnnWeight, mnn_quantize
from graphquant_export.quantized.weight_groups import Grouping, mnn_grouping
from graphquant_export.targets.mnn.command import ConverterCommand
from graphquant_export.targets.mnn.compress_params import (
    LayerParams,
    is_of_weights_alone,
    read_compress_params,
    save_compress_params,
)
from graphquant_export.targets.mnn.converter import convert
from graphquant_export.targets.mnn.model_file import (
    MnnLayer,
    MnnModel,
    TensorGrid,
    read_mnn_layers,
    read_mnn_model,
)
from graphquant_export.targets.mnn.runtime import run_mnn_model

__all__ = [
    "ConverterCommand",
    "Grouping",
    "LayerParams",
    "MnnLayer",
    "MnnModel",
    "MnnWeight",
    "TensorGrid",
    "convert",
    "is_of_weights_alone",
    "mnn_grouping",
    "mnn_quantize",
    "read_compress_params",
    "read_mnn_layers",
    "read_mnn_model",
    "run_mnn_model",
    "save_compress_params",
]
