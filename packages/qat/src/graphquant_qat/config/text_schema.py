"""The message of a retrain definition, the ``.cfg`` text that a configuration is made from.

Text names fields and never uses their numbers; those are AMCT's.
"""

from __future__ import annotations

from graphquant_core.protobuf_schema import Enum, Field, Message, build_messages, field_names

_CONFIG_FIELDS = (
    Field("retrain_data_quant_config", 2, "RetrainDataQuantConfig"),
    Field("retrain_weight_quant_config", 3, "RetrainWeightQuantConfig"),
)
_OVERRIDE_FIELDS = (*_CONFIG_FIELDS, Field("prune_config", 4, "PruneConfig"))
_WEIGHT_FIELDS = (
    Field("dst_type", 1, "DataType", default="INT8"),
    Field("channel_wise", 2, "bool"),
)
_REGULAR_PRUNE = "regular_prune_strategy"

_MESSAGES = build_messages(
    "graphquant_retrain_config",
    Enum("DataType", {"INT4": 0, "INT8": 1, "INT16": 2}),
    Enum("FakequantPrecisionMode", {"FORCE_FP16_QUANT": 1}),
    Enum("NOutOfMType", {"M4N2": 0}),
    Message(
        "AMCTRetrainConfig",
        Field("batch_num", 1, "uint32", default="1"),
        *_CONFIG_FIELDS,
        Field("skip_layers", 4, "string", repeated=True),
        Field("override_layer_configs", 5, "RetrainOverrideLayer", repeated=True),
        Field("skip_layer_types", 6, "string", repeated=True),
        Field("override_layer_types", 7, "RetrainOverrideLayerType", repeated=True),
        Field("prune_config", 8, "PruneConfig"),
        Field("regular_prune_skip_layers", 9, "string", repeated=True),
        Field("regular_prune_skip_types", 10, "string", repeated=True),
        Field("quant_skip_layers", 11, "string", repeated=True),
        Field("quant_skip_types", 12, "string", repeated=True),
        Field("fakequant_precision_mode", 21, "FakequantPrecisionMode"),
    ),
    Message(
        "RetrainOverrideLayer", Field("layer_name", 1, "string", required=True), *_OVERRIDE_FIELDS
    ),
    Message(
        "RetrainOverrideLayerType",
        Field("layer_type", 1, "string", required=True),
        *_OVERRIDE_FIELDS,
    ),
    Message(
        "RetrainDataQuantConfig",
        Field("ulq_quantize", 13, "ActULQquantize", oneof="data_retrain_algo"),
    ),
    Message(
        "ActULQquantize",
        Field("clip_max_min", 1, "ClipMaxMin"),
        Field("fixed_min", 2, "bool"),
        Field("dst_type", 3, "DataType", default="INT8"),
    ),
    Message(
        "ClipMaxMin",
        Field("clip_max", 3, "float", required=True),
        Field("clip_min", 5, "float", required=True),
    ),
    Message(
        "RetrainWeightQuantConfig",
        Field("arq_retrain", 1, "ARQRetrain", oneof="weights_retrain_algo"),
        Field("ulq_retrain", 2, "WtsULQRetrain", oneof="weights_retrain_algo"),
    ),
    Message("ARQRetrain", *_WEIGHT_FIELDS),
    Message("WtsULQRetrain", *_WEIGHT_FIELDS),
    Message(
        "PruneConfig",
        Field("filter_pruner", 1, "FilterPruner", oneof=_REGULAR_PRUNE),
        Field("n_out_of_m_pruner", 2, "NOutOfMPruner", oneof=_REGULAR_PRUNE),
    ),
    Message(
        "FilterPruner",
        Field(
            "balanced_l2_norm_filter_prune",
            1,
            "BalancedL2NormFilterPruner",
            oneof="filter_pruner_algo",
        ),
    ),
    Message(
        "BalancedL2NormFilterPruner",
        Field("prune_ratio", 1, "float", required=True),
        Field("ascend_optimized", 2, "bool", default="true"),
    ),
    Message(
        "NOutOfMPruner",
        Field("l1_selective_prune", 1, "L1SelectivePruner", oneof="n_out_of_m_pruner_algo"),
    ),
    Message(
        "L1SelectivePruner",
        Field("n_out_of_m_type", 1, "NOutOfMType", default="M4N2"),
        Field("update_freq", 2, "uint32", default="0"),
    ),
)

AMCTRetrainConfig = _MESSAGES["AMCTRetrainConfig"]
"""The class of the whole message."""

FIELDS_OF_MESSAGE = {name: tuple(field_names(message)) for name, message in _MESSAGES.items()}
"""Names of the fields of each message."""
