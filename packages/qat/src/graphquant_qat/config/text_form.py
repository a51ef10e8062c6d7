"""The retrain definition: a short text that says what differs from the default, by layer or type.

Drop-in for AMCT's ``config_defination`` file, in protobuf's text format.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from typing import Any

from graphquant_core.exceptions import ConfigError
from graphquant_core.plan import Plan
from graphquant_qat.config import rules
from graphquant_qat.config.defaults import check_enabled, check_has_layers
from graphquant_qat.config.model import LayerConfig, RetrainConfig
from graphquant_qat.config.names import supported_types, unknown_layer, unknown_type
from graphquant_qat.config.read_text import read_text
from graphquant_qat.config.shown import shown
from graphquant_qat.config.text_message import parse_message
from graphquant_qat.config.text_sections import Sections, read_sections

_log = logging.getLogger(__name__)


def read_definition(
    path: str | os.PathLike[str], plan: Plan, softmax_layers: Collection[str] = frozenset()
) -> RetrainConfig:
    """The configuration that the definition at `path` makes of `plan`.

    Raises:
        ModelFileError: the file can't be read.
        ConfigError, UnknownNameError, NoLayersError: as `parse_definition`.
    """
    text, file = read_text(path, "config_defination")
    return parse_definition(text, plan, softmax_layers, file)


def parse_definition(
    text: str,
    plan: Plan,
    softmax_layers: Collection[str] = frozenset(),
    file: str = "config_defination",
) -> RetrainConfig:
    """The configuration that the definition `text` makes of `plan`.

    A layer takes both its sections from its entry in ``override_layer_configs``, else from the
    entry of its type in ``override_layer_types``, else from the top; a section that is missing
    there has the default values. A layer is off when a skip names it or its type, unless an
    override does. A layer of `softmax_layers` has one scale for its weight whatever the text says.

    Raises:
        ConfigError: a field is unknown, missing, repeated, not supported or has a value that
            isn't allowed, or an override is repeated; names `file`, the field and the value.
        UnknownNameError: a layer or type isn't known, or an overridden layer can't be quantised.
        NoLayersError: no layer is enabled, or the plan has none.
    """
    check_has_layers(plan)
    message = parse_message(text, file)
    refusal = rules.batch_num_refusal(message.batch_num)
    if refusal:
        raise ConfigError(f"{file}: batch_num ({message.batch_num}) {refusal}")
    top = read_sections(message, file)
    by_layer = _overrides(message.override_layer_configs, "layer_name", file)
    by_type = _overrides(message.override_layer_types, "layer_type", file)
    planned = {layer.name for layer in plan.layers}
    for name in by_layer:
        if name not in planned:
            raise unknown_layer(name, plan, f"{file}: override_layer_configs")
    _check_types(by_type, plan, f"{file}: override_layer_types")
    skipped_names = _skipped_names(message, plan, file)
    skipped_types = _skipped_types(message, plan, file)
    layers = {}
    for layer in plan.layers:
        override = by_layer.get(layer.name, by_type.get(layer.op_type))
        skipped = layer.name in skipped_names or layer.op_type in skipped_types
        enabled = override is not None or not skipped
        sections = override or top
        weight = sections.weight(layer, enabled=enabled, feeds_softmax=layer.name in softmax_layers)
        layers[layer.name] = LayerConfig(enabled, sections.activation, weight)
    check_enabled(layers, file)
    return RetrainConfig(message.batch_num, layers)


def _overrides(entries: Iterable[Any], key: str, file: str) -> dict[str, Sections]:
    """Sections of each override, by the layer or type that it is for."""
    field = "override_layer_configs" if key == "layer_name" else "override_layer_types"
    found: dict[str, Sections] = {}
    for entry in entries:
        name = getattr(entry, key)
        if name in found:
            raise ConfigError(f"{file}: {field} has two entries with {key} ({shown(name)})")
        found[name] = read_sections(entry, file, f"{field}[{shown(name)}].")
    return found


def _skipped_names(message: Any, plan: Plan, file: str) -> set[str]:
    planned = {layer.name for layer in plan.layers}
    reasons = {skip.name: skip.reason for skip in plan.skips}
    names: set[str] = set()
    for field in ("skip_layers", "quant_skip_layers"):
        for name in _without_repeats(getattr(message, field), f"{file}: {field}"):
            if name in reasons:
                _log.info('%s: %s: "%s" is off anyway: %s', file, field, name, reasons[name])
            elif name not in planned:
                raise unknown_layer(name, plan, f"{file}: {field}")
            names.add(name)
    return names


def _skipped_types(message: Any, plan: Plan, file: str) -> set[str]:
    op_types: set[str] = set()
    for field in ("skip_layer_types", "quant_skip_types"):
        given = _without_repeats(getattr(message, field), f"{file}: {field}")
        _check_types(given, plan, f"{file}: {field}")
        op_types.update(given)
    return op_types


def _without_repeats(values: Iterable[str], place: str) -> list[str]:
    seen: dict[str, None] = {}
    for value in values:
        if value in seen:
            _log.warning("%s names %s more than once", place, shown(value))
        seen[value] = None
    return list(seen)


def _check_types(op_types: Iterable[str], plan: Plan, place: str) -> None:
    """Refuses a type that no handler knows; warns of one that the graph has no layer of."""
    planned = {layer.op_type for layer in plan.layers}
    known = supported_types(plan)
    for op_type in op_types:
        if op_type not in known:
            raise unknown_type(op_type, plan, place)
        if op_type not in planned:
            _log.warning('%s: the graph has no layer of type "%s"', place, op_type)
