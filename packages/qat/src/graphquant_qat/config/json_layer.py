"""The object of one layer in the JSON file."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graphquant_core.layer import Layer
from graphquant_qat.config import rules
from graphquant_qat.config.defaults import default_layer
from graphquant_qat.config.json_node import JsonNode
from graphquant_qat.config.model import ActivationConfig, LayerConfig, WeightConfig

_LAYER_KEYS = ("retrain_enable", "retrain_data_config", "retrain_weight_config")
_ACTIVATION_KEYS = ("algo", "clip_max", "clip_min", "fixed_min", "dst_type")
_WEIGHT_KEYS = ("algo", "channel_wise", "dst_type")
_ULQ_WEIGHT_KEYS = ("algo", "dst_type", "channel_wise")


def layer_data(layer: LayerConfig) -> dict[str, Any]:
    """`layer` as plain data, in AMCT's key order and without what is ``None``."""
    data: dict[str, Any] = {
        "retrain_enable": layer.retrain_enable,
        "retrain_data_config": _section_data(layer.activation, _ACTIVATION_KEYS),
    }
    if layer.weight is not None:
        ulq = layer.weight.algo == "ulq_retrain"
        keys = _ULQ_WEIGHT_KEYS if ulq else _WEIGHT_KEYS
        data["retrain_weight_config"] = _section_data(layer.weight, keys)
    return data


def parse_layer(node: JsonNode, layer: Layer) -> LayerConfig:
    """What `node` says of `layer`.

    Raises:
        ConfigError: a key is unknown, missing, repeated or has a value that isn't allowed.
    """
    members = node.members(_LAYER_KEYS)
    if "retrain_enable" not in members:
        raise node.missing("retrain_enable")
    enabled = members["retrain_enable"].boolean()
    defaults = default_layer(layer, retrain_enable=enabled)
    activation, weight = defaults.activation, defaults.weight
    if "retrain_data_config" in members:
        activation = _parse_activation(members["retrain_data_config"])
    elif enabled:
        raise node.missing("retrain_data_config")
    if "retrain_weight_config" in members:
        # AMCT writes this section for AvgPool too; there it is checked and has no effect.
        stated = _parse_weight(members["retrain_weight_config"], layer)
        weight = None if weight is None else stated
    elif enabled and weight is not None:
        raise node.missing("retrain_weight_config")
    return LayerConfig(enabled, activation, weight)


def _section_data(
    section: ActivationConfig | WeightConfig, keys: Collection[str]
) -> dict[str, Any]:
    values = {key: getattr(section, key) for key in keys}
    return {key: value for key, value in values.items() if value is not None}


def _parse_activation(node: JsonNode) -> ActivationConfig:
    members = node.members(_ACTIVATION_KEYS)
    clips = {key: members[key].decimal() for key in ("clip_max", "clip_min") if key in members}
    for key, value in clips.items():
        if len(clips) == 1:
            other = "clip_min" if key == "clip_max" else "clip_max"
            raise members[key].wrong(f"is given without {other}; give both or neither")
        refusal = rules.clip_refusal(key, value)
        if refusal:
            raise members[key].wrong(refusal)
    return ActivationConfig(
        algo=_one_of(members, "algo", rules.activation_algorithms(), ActivationConfig().algo),
        clip_max=clips.get("clip_max"),
        clip_min=clips.get("clip_min"),
        fixed_min=members["fixed_min"].boolean() if "fixed_min" in members else None,
        dst_type=_one_of(members, "dst_type", [rules.DST_TYPE], rules.DST_TYPE),
    )


def _parse_weight(node: JsonNode, layer: Layer) -> WeightConfig:
    members = node.members(_WEIGHT_KEYS)
    allowed = rules.channel_wise_allowed(layer)
    channel_wise = allowed
    if "channel_wise" in members:
        channel_wise = members["channel_wise"].boolean()
        if channel_wise and not allowed:
            raise members["channel_wise"].wrong(rules.channel_wise_refusal(layer))
    return WeightConfig(
        algo=_one_of(members, "algo", rules.weight_algorithms(), WeightConfig().algo),
        channel_wise=channel_wise,
        dst_type=_one_of(members, "dst_type", [rules.DST_TYPE], rules.DST_TYPE),
    )


def _one_of(members: dict[str, JsonNode], key: str, allowed: Collection[str], default: str) -> str:
    return members[key].one_of(allowed) if key in members else default
