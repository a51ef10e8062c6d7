"""MNN's compression parameters as protobuf classes (MNN_compression.proto, proto2)."""

from __future__ import annotations

import functools
from typing import Any

from graphquant_core.protobuf_schema import Enum, Field, Message, build_messages

PACKAGE = "MNN.Compression"

_TYPES: tuple[Message | Enum, ...] = (
    Enum(
        "RoundMode", {"ROUND_TOWARDS_ZERO": 0, "ROUND_AWAY_FROM_ZERO": 1, "ROUND_HALF_TO_EVEN": 2}
    ),
    Enum("QuantMethod", {"QAT": 0, "OverflowAware": 1, "WinogradAware": 2}),
    Enum("PruneType", {"RANDOM": 0, "SIMD_OC": 1, "FILTER": 2}),
    Enum("CompressionType", {"QUANTIZE": 0, "PRUNE": 1}),
    Message(
        "ActivationParams",
        Field("name", 1, "string", required=True),
        Field("bits", 2, "int32", default="8"),
        Field("scales", 3, "float", repeated=True),
        Field("zero_point", 4, "int32", default="0"),
        Field("clamp_min", 5, "int32", default="-128"),
        Field("clamp_max", 6, "int32", default="127"),
    ),
    Message(
        "WeightParams",
        Field("name", 1, "string", required=True),
        Field("bits", 2, "int32", default="8"),
        Field("scales", 3, "float", repeated=True),
        Field("clamp_min", 4, "int32", default="-128"),
        Field("clamp_max", 5, "int32", default="127"),
        Field("asymmetric", 6, "bool", default="false"),
        Field("block_size", 7, "int32", default="0"),
    ),
    Message(
        "WinogradParams",
        Field("version", 1, "int32", required=True, default="0"),
        Field("units_attr", 4, "int32", repeated=True),
    ),
    Message(
        "ConvolutionInfo",
        Field("input_channel", 1, "int32", required=True),
        Field("output_channel", 2, "int32", required=True),
        Field("kernel_size", 3, "int32", repeated=True),
    ),
    Message(
        "LayerQuantizeParams",
        Field("input", 1, "ActivationParams", repeated=True),
        Field("weight", 2, "WeightParams", repeated=True),
        Field("output", 3, "ActivationParams", repeated=True),
        Field("method", 4, "QuantMethod", default="QAT"),
        Field("wino_params", 5, "WinogradParams"),
        Field("op_name", 6, "string"),
        Field("subgraph_name", 7, "string"),
        Field("conv", 8, "ConvolutionInfo"),
    ),
    Message(
        "QuantizeParams",
        Field("round_mode", 1, "RoundMode", default="ROUND_AWAY_FROM_ZERO"),
        Field("layer", 4, "LayerQuantizeParams", repeated=True),
    ),
    Message(
        "LevelPrunerParams",
        Field("weight_tensor_names", 1, "string", repeated=True),
        Field("prune_ratios", 2, "float", repeated=True),
        Field("layer_names", 3, "string", repeated=True),
    ),
    Message(
        "SIMDOCPrunerParams",
        Field("weight_tensor_names", 1, "string", repeated=True),
        Field("prune_ratios", 2, "float", repeated=True),
        Field("layer_names", 3, "string", repeated=True),
        Field("oc_blocks", 4, "int32", repeated=True),
    ),
    Message(
        "PruneParams",
        Field("type", 1, "PruneType", default="RANDOM"),
        Field("level_pruner_params", 2, "LevelPrunerParams"),
        Field("simd_oc_pruner_params", 3, "SIMDOCPrunerParams"),
    ),
    Message(
        "CompressionAlgo",
        Field("type", 1, "CompressionType", default="QUANTIZE"),
        Field("quant_params", 2, "QuantizeParams"),
        Field("prune_params", 3, "PruneParams"),
    ),
    Message(
        "Pipeline",
        Field("version", 1, "string", required=True, default="0.0.0"),
        Field("algo", 2, "CompressionAlgo", repeated=True),
        Field("mnn_uuid", 3, "string"),
        Field("for_guide", 4, "bool", default="false"),
    ),
)


@functools.cache
def messages() -> dict[str, type[Any]]:
    """The classes by name, such as ``Pipeline``."""
    return build_messages(PACKAGE, *_TYPES)
