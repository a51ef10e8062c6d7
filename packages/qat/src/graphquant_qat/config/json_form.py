"""The JSON file of a retrain configuration: one object for each layer, as AMCT writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from graphquant_core.exceptions import ConfigError, UnknownNameError
from graphquant_core.layer import Layer
from graphquant_core.listing import listed
from graphquant_core.plan import Plan
from graphquant_core.suggestions import closest
from graphquant_qat.config import rules
from graphquant_qat.config.defaults import check_enabled, check_has_layers, default_layer
from graphquant_qat.config.json_layer import layer_data, parse_layer
from graphquant_qat.config.json_node import JsonNode, parse_json
from graphquant_qat.config.model import LayerConfig, RetrainConfig
from graphquant_qat.config.names import unknown_layer
from graphquant_qat.config.read_text import read_text

_GLOBAL_KEYS = ("version", "batch_num")


def format_config(config: RetrainConfig) -> str:
    """`config` as JSON text, indented by four, without a space after colons.

    Raises:
        ConfigError: a layer is called like a key of the file, "version" or "batch_num".
    """
    for name in _GLOBAL_KEYS:
        if name in config.layers:
            raise ConfigError(
                f'layer "{name}" cannot stand in a configuration, which has a key of that name; '
                "give the op another name"
            )
    layers = {name: layer_data(layer) for name, layer in {**config.layers, **config.values}.items()}
    data = {"version": config.version, "batch_num": config.batch_num, **layers}
    return json.dumps(data, indent=4, separators=(",", ":"))


def read_config(
    path: str | os.PathLike[str], plan: Plan, values: Sequence[Layer] = ()
) -> RetrainConfig:
    """The configuration in the JSON file at `path`, checked against `plan` and `values`.

    Raises:
        ModelFileError: the file can't be read.
        ConfigError, UnknownNameError, NoLayersError: as `parse_config`.
    """
    text, file = read_text(path, "config_file")
    return parse_config(text, plan, file, values)


def parse_config(
    text: str, plan: Plan, file: str = "config_file", values: Sequence[Layer] = ()
) -> RetrainConfig:
    """The configuration that `text` states, checked against `plan` and `values`.

    A layer of the plan that the text leaves out is off; a value that it leaves out is rounded as
    the default says, so that a configuration without values is for any target. What AMCT fills in
    may be missing: ``algo``, ``channel_wise`` and ``dst_type``, and both sections of a layer that
    is off.

    Raises:
        ConfigError: `text` isn't JSON, or a key is unknown, missing, repeated or has a value
            that isn't allowed; names `file`, the keys that lead there and the value.
        UnknownNameError: a layer isn't in the graph, or can't be quantised.
        NoLayersError: no layer is enabled, or the plan has none.
    """
    check_has_layers(plan)
    root = parse_json(text, file)
    members = root.members()
    stated = _parse_layers(members, plan, values)
    for key in _GLOBAL_KEYS:
        if key not in members:
            raise root.missing(key)
    version, batch_num = members["version"], members["batch_num"]
    if version.integer() != rules.VERSION:
        raise version.wrong(f"must be {rules.VERSION}")
    refusal = rules.batch_num_refusal(batch_num.integer())
    if refusal:
        raise batch_num.wrong(refusal)
    layers = {
        layer.name: stated.get(layer.name, default_layer(layer, retrain_enable=False))
        for layer in plan.layers
    }
    check_enabled(layers, file)
    named = {value.name: stated[value.name] for value in values if value.name in stated}
    return RetrainConfig(batch_num.integer(), layers, values=named)


def _parse_layers(
    members: dict[str, JsonNode], plan: Plan, values: Sequence[Layer]
) -> dict[str, LayerConfig]:
    """What the members that aren't global keys say of the layers and values that they name."""
    planned = {layer.name: layer for layer in (*plan.layers, *values)}
    skipped = {skip.name for skip in plan.skips}
    stated = {}
    for name, node in members.items():
        if name in _GLOBAL_KEYS:
            continue
        if name in planned:
            stated[name] = parse_layer(node, planned[name])
        elif ":" in name and _is_object(node):
            raise _not_a_value(node, [value.name for value in values])
        elif name not in skipped or _is_on(node):
            raise _not_a_layer(node, plan)
    return stated


def _is_on(node: JsonNode) -> bool:
    """Whether the object of a layer switches it on."""
    members = node.members()
    return "retrain_enable" not in members or members["retrain_enable"].boolean()


def _is_object(node: JsonNode) -> bool:
    return isinstance(node.value, tuple)


def _not_a_value(node: JsonNode, known: Sequence[str]) -> UnknownNameError:
    """The error for a value that the target doesn't round; an op's name has no colon."""
    name = node.keys[0]
    return UnknownNameError(
        f'{node.file}: the target rounds no value "{name}"{closest(name, known)} '
        f"({len(known)} values: {listed(known)})"
    )


def _not_a_layer(node: JsonNode, plan: Plan) -> ConfigError | UnknownNameError:
    """The error for a key that is neither global nor a layer of `plan`."""
    if _is_object(node) and node.keys[0] not in rules.UNSUPPORTED:
        return unknown_layer(node.keys[0], plan, node.file)
    return node.unknown(_GLOBAL_KEYS)
