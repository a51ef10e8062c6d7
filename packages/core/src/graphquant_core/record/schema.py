"""The protobuf schema of AMCT's record file (package AMCTTensorflow, outer and inner fields)."""

from __future__ import annotations

from graphquant_core.protobuf_schema import Enum, Field, Message, build_messages

_CLASSES = build_messages(
    "AMCTTensorflow",
    Message(
        "ScaleOffsetRecord",
        Field("record", 1, "MapFiledEntry", repeated=True),
        Field("prune_record", 2, "PruneRecord", repeated=True),
    ),
    Message(
        "MapFiledEntry",
        Field("key", 1, "string"),
        Field("value", 2, "SingleLayerRecord"),
    ),
    Message(
        "SingleLayerRecord",
        Field("scale_d", 1, "float"),
        Field("offset_d", 2, "int32"),
        Field("scale_w", 3, "float", repeated=True),
        Field("offset_w", 4, "int32", repeated=True),
        Field("shift_bit", 5, "int32", repeated=True),
        Field("cluster", 6, "int32", repeated=True),
        Field("skip_fusion", 9, "bool", default="false"),
        Field("dst_type", 10, "string", default="INT8"),
        Field("prune_producer", 11, "string", repeated=True),
        Field("prune_consumer", 12, "string", repeated=True),
        Field("tensor_balance_factor", 13, "float", repeated=True),
        Field("act_type", 14, "string", default="INT8"),
        Field("wts_type", 15, "string", default="INT8"),
    ),
    Message(
        "PruneRecord",
        Field("producer", 1, "PruneNode", repeated=True),
        Field("consumer", 2, "PruneNode", repeated=True),
        Field("selective_prune", 3, "PruneNode"),
    ),
    Message(
        "PruneNode",
        Field("name", 1, "string", required=True),
        Field("attr", 2, "AMCTAttrProto", repeated=True),
    ),
    Message(
        "AMCTAttrProto",
        Field("name", 1, "string"),
        Field("type", 2, "AttributeType"),
        Field("f", 3, "float"),
        Field("i", 4, "int64"),
        Field("s", 5, "bytes"),
        Field("floats", 6, "float", repeated=True),
        Field("ints", 7, "int64", repeated=True),
        Field("strings", 8, "bytes", repeated=True),
    ),
    Enum(
        "AttributeType",
        {"UNDEFINED": 0, "FLOAT": 1, "INT": 2, "STRING": 3, "FLOATS": 6, "INTS": 7, "STRINGS": 8},
    ),
)

ScaleOffsetRecord = _CLASSES["ScaleOffsetRecord"]
MapFiledEntry = _CLASSES["MapFiledEntry"]
SingleLayerRecord = _CLASSES["SingleLayerRecord"]
